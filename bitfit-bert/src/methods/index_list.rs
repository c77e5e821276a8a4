//! The names of lists of indices in a file: `NAME.rows`, `NAME.columns` and `NAME.elements` choose entries of the
//! parameter NAME, in a mask file and in a task file.

use bitfit_core::Mask;

/// Makes the mask of a list.
pub(crate) type MaskOf = fn(Vec<u32>) -> Mask;

/// The ending of a list's name, and the mask of such a list.
const KINDS: [(&str, MaskOf); 3] = [(".rows", Mask::Rows), (".columns", Mask::Columns), (".elements", Mask::Elements)];

/// The parameter that a list of this name is of, and what makes the mask; `None` for another name.
pub(crate) fn parse(name: &str) -> Option<(&str, MaskOf)> {
    KINDS.iter().find_map(|&(ending, mask)| Some((name.strip_suffix(ending)?, mask)))
}

/// The name of a mask's list for a parameter, and the list; `None` for a mask without one.
pub(crate) fn of<'a>(parameter: &str, mask: &'a Mask) -> Option<(String, &'a [u32])> {
    let (kind, chosen) = match mask {
        Mask::None | Mask::All => return None,
        Mask::Rows(chosen) => (0, chosen),
        Mask::Columns(chosen) => (1, chosen),
        Mask::Elements(chosen) => (2, chosen),
    };
    Some((format!("{parameter}{}", KINDS[kind].0), chosen))
}
