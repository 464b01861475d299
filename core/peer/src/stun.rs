//! The little of STUN that is needed before a peer is found: whose binding request a datagram is.
//!
//! Guarantees: borrows, never allocates, reads each attribute header once.
//! Not here: MESSAGE-INTEGRITY and answers, which are str0m's once the peer is known.
//! Source: RFC 8489 §5, §14; RFC 8445 §7.1.

const HEADER_LEN: usize = 20;
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const USERNAME: u16 = 0x0006;
const USE_CANDIDATE: u16 = 0x0025;

/// What a binding request says about itself, unauthenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingRequest<'a> {
    /// The part of USERNAME before the colon: the ufrag of the end that is asked.
    pub local_ufrag: &'a [u8],
    /// The sender, as the controlling end, nominates this pair.
    pub nominates: bool,
}

impl<'a> BindingRequest<'a> {
    /// Reads a datagram; `None` when it is not a well-formed binding request with a user name.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = datagram.split_first_chunk::<HEADER_LEN>()?;
        let [t0, t1, l0, l1, m0, m1, m2, m3, ..] = *header;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if u16::from_be_bytes([t0, t1]) != BINDING_REQUEST
            || [m0, m1, m2, m3] != MAGIC
            || length != rest.len()
            || length % 4 != 0
        {
            return None;
        }
        let mut local_ufrag = None;
        let mut nominates = false;
        while let Some((&[k0, k1, n0, n1], after)) = rest.split_first_chunk::<4>() {
            let length = usize::from(u16::from_be_bytes([n0, n1]));
            let (value, _) = after.split_at_checked(length)?;
            match u16::from_be_bytes([k0, k1]) {
                USERNAME if local_ufrag.is_none() => {
                    let colon = value.iter().position(|&letter| letter == b':')?;
                    local_ufrag = value.get(..colon);
                }
                USE_CANDIDATE => nominates = true,
                _ => {}
            }
            rest = after.get(length.next_multiple_of(4)..)?;
        }
        Some(Self { local_ufrag: local_ufrag?, nominates })
    }
}

/// Is this one of our answers that says the request's MESSAGE-INTEGRITY held?
pub(crate) fn is_binding_success(datagram: &[u8]) -> bool {
    datagram.first_chunk().is_some_and(|&kind| u16::from_be_bytes(kind) == BINDING_SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend_from_slice(&kind.to_be_bytes());
            body.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut datagram = BINDING_REQUEST.to_be_bytes().to_vec();
        datagram.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        datagram.extend_from_slice(&MAGIC);
        datagram.extend_from_slice(&[9; 12]);
        datagram.extend_from_slice(&body);
        datagram
    }

    #[test]
    fn the_user_name_and_the_nomination_are_read() {
        let datagram = request(&[(USERNAME, b"ours:theirs"), (USE_CANDIDATE, b"")]);
        let read = BindingRequest::parse(&datagram).unwrap();
        assert_eq!(read, BindingRequest { local_ufrag: b"ours", nominates: true });
        let datagram = request(&[(0x8022, b"software"), (USERNAME, b"a:b")]);
        let read = BindingRequest::parse(&datagram).unwrap();
        assert_eq!(read, BindingRequest { local_ufrag: b"a", nominates: false });
    }

    #[test]
    fn what_is_not_a_whole_binding_request_is_nothing() {
        let good = request(&[(USERNAME, b"ours:theirs")]);
        for cut in 0..good.len() {
            assert_eq!(BindingRequest::parse(&good[..cut]), None, "cut at {cut}");
        }
        assert_eq!(BindingRequest::parse(&request(&[(USERNAME, b"no colon")])), None);
        assert_eq!(BindingRequest::parse(&request(&[])), None);
        let mut long = good;
        long.push(0);
        assert_eq!(BindingRequest::parse(&long), None);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = BindingRequest::parse(&bytes);
        }
    }
}
