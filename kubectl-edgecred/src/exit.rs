//! The exit codes, which a pipeline goes by.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Well = 0,
    /// It could not be found out or done.
    Failed = 1,
    /// The command line is wrong. The parser ends with it too.
    Usage = 2,
    /// A person must act.
    NeedsPerson = 3,
    /// Not yet: it is still under way, and passes by itself.
    NotYet = 4,
}

impl Exit {
    /// The exit code for several results together. That a person is needed is said first, whatever else passes by itself.
    pub fn worst(exits: impl IntoIterator<Item = Self>) -> Self {
        let weight = |exit: &Self| match exit {
            Self::Well => 0,
            Self::NotYet => 1,
            Self::Failed => 2,
            Self::Usage => 3,
            Self::NeedsPerson => 4,
        };
        exits.into_iter().max_by_key(weight).unwrap_or(Self::Well)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_person_is_needed_is_said_first() {
        assert_eq!(Exit::worst([]), Exit::Well);
        assert_eq!(Exit::worst([Exit::NotYet, Exit::Well]), Exit::NotYet);
        assert_eq!(
            Exit::worst([Exit::NotYet, Exit::NeedsPerson, Exit::Failed]),
            Exit::NeedsPerson
        );
    }
}
