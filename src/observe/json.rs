//! Writing JSON: numbers, words and what is made of them.
#![forbid(unsafe_code)]

use std::fmt::{Display, Write};

/// An object that is being written. What it is dropped without is its end: call [`Object::end`] for the text.
#[derive(Debug)]
pub struct Object {
    text: String,
}

impl Default for Object {
    fn default() -> Self {
        Self { text: String::from("{") }
    }
}

impl Object {
    /// A member whose value is JSON already.
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        quote(&mut self.text, name);
        self.text.push(':');
        self.text.push_str(value);
        self
    }

    /// A whole number.
    #[must_use]
    pub fn number(self, name: &str, value: impl Into<u64>) -> Self {
        let value = value.into().to_string();
        self.raw(name, &value)
    }

    /// A number with three decimals; 0 if it is none.
    #[must_use]
    pub fn fraction(self, name: &str, value: f64) -> Self {
        let value = if value.is_finite() { value } else { 0.0 };
        self.raw(name, &format!("{value:.3}"))
    }

    /// True or false.
    #[must_use]
    pub fn truth(self, name: &str, value: bool) -> Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    /// A text.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        let mut quoted = String::new();
        quote(&mut quoted, value);
        self.raw(name, &quoted)
    }

    /// A list of values that are JSON already.
    #[must_use]
    pub fn list<T: Display>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let list = list(values);
        self.raw(name, &list)
    }

    /// The whole text.
    #[must_use]
    pub fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

/// A list of values that are JSON already.
#[must_use]
pub fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let mut text = String::from("[");
    for value in values {
        if text.len() > 1 {
            text.push(',');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{value}");
    }
    text.push(']');
    text
}

fn quote(to: &mut String, text: &str) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => to.extend(['\\', c]),
            c if c < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(to, "\\u{:04x}", u32::from(c));
            }
            c => to.push(c),
        }
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_quoted_and_parted() {
        let inner = Object::default().number("n", 7u32).end();
        let text = Object::default()
            .text("a \"word\"", "back\\slash, \n and ü\u{1}")
            .fraction("half", 0.5)
            .fraction("none", f64::NAN)
            .truth("yes", true)
            .raw("inner", &inner)
            .list("list", [1, 2])
            .list("empty", [0u8; 0])
            .end();
        // The tests of sessions read it with a library.
        let want = r#"{"a \"word\"":"back\\slash, \u000a and ü\u0001","half":0.500,"none":0.000,"yes":true,"#;
        let rest = r#""inner":{"n":7},"list":[1,2],"empty":[]}"#;
        assert_eq!(text, [want, rest].concat());
        assert_eq!(Object::default().end(), "{}");
    }
}
