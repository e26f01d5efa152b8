//! A tree, drawn with lines.

use std::io::{self, Write};

/// A line, with what belongs to it below.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The line.
    pub text: String,
    /// What belongs to it.
    pub children: Vec<Node>,
}

impl Node {
    /// A line with nothing below.
    pub fn leaf(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            children: Vec::new(),
        }
    }

    /// Writes the tree.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.text)?;
        self.write_children(out, "")
    }

    fn write_children(&self, out: &mut dyn Write, indent: &str) -> io::Result<()> {
        let last = self.children.len().saturating_sub(1);
        for (at, child) in self.children.iter().enumerate() {
            let (branch, below) = if at == last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            writeln!(out, "{indent}{branch}{}", child.text)?;
            child.write_children(out, &format!("{indent}{below}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lead_from_each_line_to_what_belongs_to_it() {
        let tree = Node {
            text: "root".into(),
            children: vec![
                Node {
                    text: "one".into(),
                    children: vec![Node::leaf("below one")],
                },
                Node {
                    text: "two".into(),
                    children: vec![Node::leaf("below two")],
                },
            ],
        };
        let mut out = Vec::new();
        tree.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "root\n├─ one\n│  └─ below one\n└─ two\n   └─ below two\n"
        );
    }
}
