//! The types of the language: five scalars, and arrays and maps of them.
//!
//! Flat on purpose: the language has no type deeper than an array in an array or map, so a type is two small
//! enums that can be copied. Used by everything that checks; read next: `field.rs`, whose table gives each
//! field its type.

use std::fmt;

/// A value that is not a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// True or false.
    Bool,
    /// A 64-bit integer with sign.
    Int,
    /// A string of bytes, of any encoding.
    Bytes,
    /// An IPv4 or IPv6 address.
    Ip,
}

/// How scalars are held together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One scalar.
    One,
    /// `Array(T)`.
    Array,
    /// `Array(Array(T))`.
    ArrayOfArrays,
    /// `Map(T)`.
    Map,
    /// `Map(Array(T))`.
    MapOfArrays,
}

/// The type of a field, a function's result or an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// What it is made of.
    pub scalar: Scalar,
    /// How it is held together.
    pub shape: Shape,
}

impl Type {
    /// The type of conditions.
    pub const BOOL: Type = Type::one(Scalar::Bool);
    /// The type of integers.
    pub const INT: Type = Type::one(Scalar::Int);
    /// The type of strings.
    pub const BYTES: Type = Type::one(Scalar::Bytes);
    /// The type of addresses.
    pub const IP: Type = Type::one(Scalar::Ip);

    /// One scalar.
    #[must_use]
    pub const fn one(scalar: Scalar) -> Self {
        Self { scalar, shape: Shape::One }
    }

    /// An array of scalars.
    #[must_use]
    pub const fn array(scalar: Scalar) -> Self {
        Self { scalar, shape: Shape::Array }
    }

    pub(crate) const fn is_one(self) -> bool {
        matches!(self.shape, Shape::One)
    }

    pub(crate) const fn is_map(self) -> bool {
        matches!(self.shape, Shape::Map | Shape::MapOfArrays)
    }

    pub(crate) const fn is_array(self) -> bool {
        matches!(self.shape, Shape::Array | Shape::ArrayOfArrays)
    }

    /// What one index takes off: the type of an item, or nothing for a scalar.
    pub(crate) const fn item(self) -> Option<Self> {
        let shape = match self.shape {
            Shape::One => return None,
            Shape::Array | Shape::Map => Shape::One,
            Shape::ArrayOfArrays | Shape::MapOfArrays => Shape::Array,
        };
        Some(Self { scalar: self.scalar, shape })
    }

    /// An array of this type; nothing past the deepest there is.
    pub(crate) const fn in_array(self) -> Option<Self> {
        let shape = match self.shape {
            Shape::One => Shape::Array,
            Shape::Array => Shape::ArrayOfArrays,
            _ => return None,
        };
        Some(Self { scalar: self.scalar, shape })
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scalar::Bool => "Bool",
            Scalar::Int => "Int",
            Scalar::Bytes => "Bytes",
            Scalar::Ip => "Ip",
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            Shape::One => write!(f, "{}", self.scalar),
            Shape::Array => write!(f, "Array({})", self.scalar),
            Shape::ArrayOfArrays => write!(f, "Array(Array({}))", self.scalar),
            Shape::Map => write!(f, "Map({})", self.scalar),
            Shape::MapOfArrays => write!(f, "Map(Array({}))", self.scalar),
        }
    }
}
