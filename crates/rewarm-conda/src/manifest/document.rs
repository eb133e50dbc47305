//! Reading TOML with the place of every value at hand.
//!
//! A [`Table`] hands out its values one by one and warns at the end about those that nobody asked
//! for; a [`Value`] says what it was expected to be when it is something else. What the keys mean is
//! left to the modules beside this one.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ManifestError, Place, Warning};

/// A file that is being read.
pub(crate) struct Document<'d> {
    path: &'d Path,
    text: &'d str,
    /// Where each line starts.
    lines: Vec<usize>,
    warnings: RefCell<Vec<Warning>>,
}

impl<'d> Document<'d> {
    pub(crate) fn new(path: &'d Path, text: &'d str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(after).collect();
        Self { path, text, lines, warnings: RefCell::default() }
    }

    pub(crate) fn path(&self) -> &'d Path {
        self.path
    }

    /// The tables of the file.
    pub(crate) fn parse(&self) -> Result<Spanned<DeTable<'d>>, ManifestError> {
        DeTable::parse(self.text).map_err(|error| ManifestError::Syntax {
            place: self.place(error.span().unwrap_or(0..0)),
            message: error.message().to_owned(),
            source: Box::new(error),
        })
    }

    /// The line that a byte lies in, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start <= at)
    }

    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        let line = self.line(span.start);
        let start = self.lines[line - 1];
        let before = self.text.get(start..span.start).unwrap_or("");
        Place { path: self.path.to_owned(), line, column: before.chars().count() + 1 }
    }

    pub(crate) fn error(&self, span: Range<usize>, message: impl Into<String>) -> ManifestError {
        ManifestError::Value { place: self.place(span), message: message.into() }
    }

    pub(crate) fn warn(&self, span: Range<usize>, text: impl Into<String>) {
        let line = self.line(span.start);
        let warning = Warning { path: self.path.to_owned(), line, text: text.into() };
        self.warnings.borrow_mut().push(warning);
    }

    /// The warnings so far, by line.
    pub(crate) fn into_warnings(self) -> Vec<Warning> {
        let mut warnings = self.warnings.into_inner();
        warnings.sort_by_key(|warning| warning.line);
        warnings.dedup();
        warnings
    }
}

/// A value, with what it is called.
#[derive(Clone)]
pub(crate) struct Value<'a, 'd> {
    document: &'a Document<'d>,
    /// The keys that lead to it, with dots.
    pub(crate) name: String,
    key: Range<usize>,
    value: &'a Spanned<DeValue<'d>>,
}

impl<'a, 'd> Value<'a, 'd> {
    pub(crate) fn document(&self) -> &'a Document<'d> {
        self.document
    }

    /// Where the value is.
    pub(crate) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// Where its key is, or the value itself in an array.
    pub(crate) fn key_span(&self) -> Range<usize> {
        self.key.clone()
    }

    /// The line of its key.
    pub(crate) fn line(&self) -> usize {
        self.document.line(self.key.start)
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> ManifestError {
        self.document.error(self.span(), message)
    }

    /// An error that says what it is, and what it should be.
    pub(crate) fn expected(&self, what: &str) -> ManifestError {
        let found = self.value.get_ref().type_str();
        self.error(format!("`{}` is {}, expected {what}", self.name, with_article(found)))
    }

    pub(crate) fn as_str(&self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    pub(crate) fn string(&self) -> Result<&'a str, ManifestError> {
        self.as_str().ok_or_else(|| self.expected("a string"))
    }

    pub(crate) fn boolean(&self) -> Result<bool, ManifestError> {
        self.value.get_ref().as_bool().ok_or_else(|| self.expected("`true` or `false`"))
    }

    pub(crate) fn as_boolean(&self) -> Option<bool> {
        self.value.get_ref().as_bool()
    }

    pub(crate) fn integer(&self) -> Result<i64, ManifestError> {
        let number = self.value.get_ref().as_integer();
        let number = number.and_then(|it| i64::from_str_radix(it.as_str(), it.radix()).ok());
        number.ok_or_else(|| self.expected("an integer"))
    }

    pub(crate) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    pub(crate) fn is_array(&self) -> bool {
        self.value.get_ref().is_array()
    }

    pub(crate) fn table(&self) -> Result<Table<'a, 'd>, ManifestError> {
        let table = self.value.get_ref().as_table().ok_or_else(|| self.expected("a table"))?;
        Ok(Table::new(self.document, &self.name, self.span(), table))
    }

    /// The elements of an array.
    pub(crate) fn array(&self) -> Result<Vec<Value<'a, 'd>>, ManifestError> {
        let array = self.value.get_ref().as_array().ok_or_else(|| self.expected("an array"))?;
        let element = |(index, value): (usize, &'a Spanned<DeValue<'d>>)| Value {
            document: self.document,
            name: format!("{}[{index}]", self.name),
            key: value.span(),
            value,
        };
        Ok(array.iter().enumerate().map(element).collect())
    }

    pub(crate) fn strings(&self) -> Result<Vec<String>, ManifestError> {
        if !self.is_array() {
            return Err(self.expected("an array of strings"));
        }
        self.array()?.iter().map(|it| it.string().map(str::to_owned)).collect()
    }

    /// The value as it is parsed by a `FromStr`.
    pub(crate) fn parse<T>(&self, what: &str) -> Result<T, ManifestError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.string()?;
        text.parse().map_err(|error| {
            self.error(format!("`{}` is `{text}`, expected {what}: {error}", self.name))
        })
    }

    /// The value without its places.
    pub(crate) fn to_toml(&self) -> Result<toml::Value, ManifestError> {
        self.convert(self.value)
    }

    fn convert(&self, value: &Spanned<DeValue<'d>>) -> Result<toml::Value, ManifestError> {
        let wrong = |what: &str| self.document.error(value.span(), what);
        Ok(match value.get_ref() {
            DeValue::String(text) => toml::Value::String(text.to_string()),
            DeValue::Integer(it) => {
                let number = i64::from_str_radix(it.as_str(), it.radix());
                toml::Value::Integer(number.map_err(|_| wrong("the number needs over 64 bits"))?)
            }
            DeValue::Float(it) => {
                let number = it.as_str().parse();
                toml::Value::Float(number.map_err(|_| wrong("this is no number"))?)
            }
            DeValue::Boolean(it) => toml::Value::Boolean(*it),
            DeValue::Datetime(it) => toml::Value::Datetime(*it),
            DeValue::Array(array) => {
                let items = array.iter().map(|item| self.convert(item));
                toml::Value::Array(items.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => {
                let mut converted = toml::Table::new();
                for (key, item) in table {
                    converted.insert(key.get_ref().to_string(), self.convert(item)?);
                }
                toml::Value::Table(converted)
            }
        })
    }
}

fn with_article(found: &str) -> String {
    let article = if found.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {found}")
}

/// A table whose known keys are taken one by one.
pub(crate) struct Table<'a, 'd> {
    document: &'a Document<'d>,
    pub(crate) name: String,
    span: Range<usize>,
    table: &'a DeTable<'d>,
    taken: BTreeSet<&'a str>,
}

impl<'a, 'd> Table<'a, 'd> {
    pub(crate) fn new(
        document: &'a Document<'d>,
        name: &str,
        span: Range<usize>,
        table: &'a DeTable<'d>,
    ) -> Self {
        Self { document, name: name.to_owned(), span, table, taken: BTreeSet::new() }
    }

    pub(crate) fn document(&self) -> &'a Document<'d> {
        self.document
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> ManifestError {
        self.document.error(self.span.clone(), message)
    }

    fn value(
        &self,
        key: &'a Spanned<std::borrow::Cow<'d, str>>,
        value: &'a Spanned<DeValue<'d>>,
    ) -> Value<'a, 'd> {
        let text = key.get_ref();
        let name =
            if self.name.is_empty() { text.to_string() } else { format!("{}.{text}", self.name) };
        Value { document: self.document, name, key: key.span(), value }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a key, which counts as known from now on.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value<'a, 'd>> {
        let (key, value) = self.table.get_key_value(key)?;
        self.taken.insert(key.get_ref());
        Some(self.value(key, value))
    }

    /// Counts keys as known whose values do not matter here.
    pub(crate) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.take(key);
        }
    }

    /// The keys and values that are left, in the order of the file.
    pub(crate) fn rest(mut self) -> Vec<(&'a str, Value<'a, 'd>)> {
        let mut found = Vec::new();
        for (key, value) in self.table {
            if self.taken.insert(key.get_ref()) {
                found.push((key.get_ref().as_ref(), self.value(key, value)));
            }
        }
        found
    }

    /// The first of two names of one key; both at once are an error.
    pub(crate) fn take_either(
        &mut self,
        key: &str,
        other: &str,
    ) -> Result<Option<Value<'a, 'd>>, ManifestError> {
        match (self.take(key), self.take(other)) {
            (Some(_), Some(second)) => {
                Err(second.error(format!("`{key}` and `{other}` mean the same; keep `{key}`")))
            }
            (first, second) => Ok(first.or(second)),
        }
    }

    /// Warns about the keys that nobody took.
    pub(crate) fn finish(self) {
        let document = self.document;
        for (_, value) in self.rest() {
            document.warn(value.key_span(), format!("unknown key `{}` is ignored", value.name));
        }
    }
}
