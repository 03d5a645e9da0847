//! The daemon's configuration, as a builder over its TOML.

use std::path::Path;

use toml::{Table, Value};

/// A configuration. Every key of hsmd.example.toml can be set by its path.
#[derive(Clone, Debug)]
pub struct Settings(Table);

impl Settings {
    /// Parses a whole configuration.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.parse().expect("the harness's own configuration"))
    }

    /// Sets a key by its path, like `standby`, `token.0.queue_length` or `caller.0.sign`; tables on the
    /// way are made when they are missing.
    #[must_use]
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
        let mut table = &mut self.0;
        let mut parents = parents.split('.').filter(|part| !part.is_empty()).peekable();
        while let Some(parent) = parents.next() {
            let index = parents.next_if(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
            let inner = table.entry(parent).or_insert_with(|| Value::Table(Table::new()));
            let inner = match index {
                Some(index) => {
                    &mut inner[index.parse::<usize>().expect("the index of an array of tables")]
                }
                None => inner,
            };
            table = inner.as_table_mut().expect("a table above the key");
        }
        table.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a table to an array of tables of the top level, like `caller`.
    #[must_use]
    pub(crate) fn push(mut self, array: &str, table: Table) -> Self {
        let array = self.0.entry(array).or_insert_with(|| Value::Array(Vec::new()));
        array.as_array_mut().expect("an array of tables").push(table.into());
        self
    }

    /// Removes a key of the top level.
    #[must_use]
    pub(crate) fn unset(mut self, key: &str) -> Self {
        self.0.remove(key);
        self
    }

    /// The file's text, with `@` in a path replaced by the folder of this hsmd.
    pub(crate) fn text(&self, folder: &Path) -> String {
        self.0.to_string().replace("\"@/", &format!("\"{}/", folder.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_set_by_path() {
        let settings = Settings::parse("a = 1\n[[token]]\nlabel = \"x\"\n")
            .set("a", 2)
            .set("token.0.label", "y")
            .set("log.filter", "debug");
        let expected = "a = 2\n[[token]]\nlabel = \"y\"\n[log]\nfilter = \"debug\"\n";
        assert_eq!(settings.0, expected.parse::<Table>().unwrap());
    }
}
