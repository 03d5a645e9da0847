//! Handles as tpm2-pkcs11 up to 1.9 gives them: a list in the order of the handles, in which the place
//! of a new object is counted from the head as if the head had handle 1. Once the head was destroyed,
//! the new handle is in use already, and a handle means the first object in the list that has it.

use cryptoki_sys::CK_OBJECT_HANDLE;

/// The objects of a token by their given handles.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    /// The given handle, and that of the module behind.
    list: Vec<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)>,
}

impl Numbering {
    /// The given handle of an object, which gets one if it has none.
    pub(super) fn given(&mut self, real: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
        match self.list.iter().find(|(_, known)| *known == real) {
            Some((given, _)) => *given,
            None => self.add(real),
        }
    }

    /// The object that a given handle means.
    pub(super) fn real(&self, given: CK_OBJECT_HANDLE) -> Option<CK_OBJECT_HANDLE> {
        self.list.iter().find(|(known, _)| *known == given).map(|(_, real)| *real)
    }

    /// Takes a destroyed object out.
    pub(super) fn remove(&mut self, real: CK_OBJECT_HANDLE) {
        self.list.retain(|(_, known)| *known != real);
    }

    fn add(&mut self, real: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
        let mut given = 1;
        for (at, (handle, _)) in self.list.iter().enumerate() {
            given += 1;
            let gap = self.list.get(at + 1).is_some_and(|(next, _)| next.wrapping_sub(*handle) > 1);
            if gap {
                self.list.insert(at + 1, (given, real));
                return given;
            }
        }
        self.list.push((given, real));
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_in_use_is_given_once_the_lowest_object_is_gone() {
        let mut numbering = Numbering::default();
        assert_eq!([10, 20, 30].map(|real| numbering.given(real)), [1, 2, 3]);
        numbering.remove(10);
        assert_eq!(numbering.given(40), 3);
        assert_eq!(numbering.real(3), Some(30), "the older object");
        numbering.remove(30);
        assert_eq!(numbering.real(3), Some(40));
    }

    #[test]
    fn a_gap_is_filled_as_long_as_the_lowest_object_is_there() {
        let mut numbering = Numbering::default();
        assert_eq!([10, 20, 30].map(|real| numbering.given(real)), [1, 2, 3]);
        numbering.remove(20);
        assert_eq!(numbering.given(40), 2);
        assert_eq!(numbering.given(50), 4);
        assert_eq!([1, 2, 3, 4].map(|given| numbering.real(given)), [10, 40, 30, 50].map(Some));
    }
}
