//! The code blocks of the documentation.

use std::{fs, path::PathBuf};

use crate::workspace;

/// A fenced block of code.
#[derive(Clone, Debug)]
pub struct Block {
    /// The page, as a path in the workspace.
    pub page: String,
    /// The line of its fence.
    pub line: usize,
    /// What is written behind its fence: `console`, `yaml`; empty for output.
    pub language: String,
    /// What a comment right before it says of who runs it.
    pub mark: Option<Mark>,
    /// What is between its fences, without their indentation.
    pub text: String,
}

/// Who runs a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `<!-- not run: REASON -->`
    NotRun(String),
    /// `<!-- run by: FILE -->`
    RunBy(String),
}

/// README.md and all pages below `docs`, as paths in the workspace, sorted.
pub fn pages() -> Vec<String> {
    let root = workspace();
    let mut pages = vec!["README.md".to_owned()];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root.join(&folder)).expect("a folder of the workspace");
        for entry in entries {
            let path = folder.join(entry.expect("an entry").file_name());
            if root.join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                pages.push(path.to_string_lossy().into_owned());
            }
        }
    }
    pages.sort();
    pages
}

/// The text of a page.
pub fn read(page: &str) -> String {
    let text = fs::read_to_string(workspace().join(page));
    text.unwrap_or_else(|error| panic!("read {page}: {error}"))
}

/// The blocks of a page, in their order.
pub fn blocks(page: &str) -> Vec<Block> {
    parse(page, &read(page))
}

fn parse(page: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut mark = None;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if let Some(language) = line.strip_prefix("```") {
            let body = lines.by_ref().map(|(_, line)| line);
            let body = body.take_while(|line| line.trim() != "```");
            let body = body.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()));
            blocks.push(Block {
                page: page.to_owned(),
                line: number + 1,
                language: language.to_owned(),
                mark: mark.take(),
                text: body.collect(),
            });
        } else if !line.is_empty() {
            let comment = line
                .strip_prefix("<!-- ")
                .and_then(|line| line.strip_suffix(" -->"));
            mark = comment.and_then(|comment| match comment.split_once(": ")? {
                ("not run", reason) => Some(Mark::NotRun(reason.to_owned())),
                ("run by", file) => Some(Mark::RunBy(file.to_owned())),
                _ => None,
            });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_taken_with_its_mark_and_without_its_indentation() {
        let text = "1. Text:\n\n   <!-- not run: no cluster -->\n   ```console\n   a \\\n     b\n   ```\n\n```\nout\n```\n";
        let blocks = parse("page.md", text);
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0].text, "a \\\n  b\n");
        assert_eq!(blocks[0].line, 4);
        assert_eq!(blocks[0].mark, Some(Mark::NotRun("no cluster".to_owned())));
        assert_eq!((&*blocks[1].language, blocks[1].mark.clone()), ("", None));
    }
}
