//! Names of operations: what comes back with a completion.

/// A caller's name for an operation. Several operations may share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What kind of operation, below 64.
    pub kind: u8,
    /// Tells two uses of one index apart; its low 24 bits are carried.
    pub generation: u32,
    /// Which of the caller's things it is about.
    pub index: u32,
}

/// Bits of a generation that travel with an operation.
pub(crate) const GENERATION_BITS: u32 = 24;

impl Token {
    /// A token; the generation is cut to the 24 bits that travel.
    pub fn new(kind: u8, index: u32, generation: u32) -> Token {
        assert!(kind < 64, "six bits carry the kind");
        Token { kind, generation: generation & ((1 << GENERATION_BITS) - 1), index }
    }

    /// Whether this names the thing with this generation now.
    pub fn is_of(self, generation: u32) -> bool {
        self.generation == generation & ((1 << GENERATION_BITS) - 1)
    }
}

/// What the ring itself must know of an operation when its completion arrives; the two high bits
/// of the user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Owns nothing: the rest of the user data is the token.
    Plain,
    /// Its result is a new descriptor: the rest is the token.
    Accept,
    /// Owns memory: the rest is an index in the table of operations, where the token stands.
    Memory,
}

pub(crate) fn pack(class: Class, token: Token) -> u64 {
    let class = match class {
        Class::Plain => 0,
        Class::Accept => 1,
        Class::Memory => 2,
    };
    class << 62
        | u64::from(token.kind) << 56
        | u64::from(token.generation) << 32
        | u64::from(token.index)
}

pub(crate) fn unpack(user_data: u64) -> (Class, Token) {
    let class = match user_data >> 62 {
        0 => Class::Plain,
        1 => Class::Accept,
        2 => Class::Memory,
        _ => unreachable!("the ring packs no other class"),
    };
    let kind = (user_data >> 56 & 63) as u8;
    let token = Token::new(kind, user_data as u32, (user_data >> 32) as u32);
    (class, token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_carries_class_and_token() {
        for class in [Class::Plain, Class::Accept, Class::Memory] {
            let token = Token::new(63, u32::MAX, 0x00ff_fffe);
            assert_eq!(unpack(pack(class, token)), (class, token));
        }
    }

    #[test]
    fn a_generation_is_compared_in_its_carried_bits() {
        let token = Token::new(1, 7, 0x0100_0003);
        assert!(token.is_of(0x0100_0003));
        assert!(!token.is_of(0x0100_0004));
    }
}
