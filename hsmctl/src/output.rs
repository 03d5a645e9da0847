//! What is printed: one format for a run, colour only for a person at a terminal, columns aligned.

use std::io::{self, IsTerminal, Write};

use hsmd_client::chain::{SignedEvent, Timestamp};
use serde_json::{Value, json};

use crate::args::Format;

/// Standard output and how to print on it.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    terminal: bool,
    colour: bool,
}

/// What a piece of text wants to be noticed for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Good,
    Warning,
    Bad,
    Quiet,
}

impl Output {
    /// Standard output; without colour when it is no terminal or the user wants none
    /// (<https://no-color.org>).
    pub(crate) fn new(format: Format) -> Self {
        #[expect(clippy::disallowed_methods, reason = "configuration that clap can't express")]
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let terminal = io::stdout().is_terminal();
        Self { format, terminal, colour: terminal && !no_colour }
    }

    /// Prints text and a newline. Characters that would change what a terminal shows are escaped.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        self.verbatim(&escaped(text, self.colour))
    }

    /// Prints text and a newline, byte for byte: a signature is over these bytes.
    pub(crate) fn verbatim(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        stdout.flush()
    }

    /// Prints a JSON text to be stored as it is: a newline only for a person.
    pub(crate) fn exact(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if self.terminal {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()
    }

    /// Paints text, if this output has colours.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Good => "32",
            Style::Warning => "33",
            Style::Bad => "1;31",
            Style::Quiet => "2",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Writes control and bidi characters as JSON does, all but line ends and, with colour, our own colours.
pub(crate) fn escaped(text: &str, colour: bool) -> String {
    const BIDI: &[char] = &[
        '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}',
        '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
    ];
    const COLOURS: [&str; 5] = ["\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[2m", "\x1b[0m"];
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let ours = COLOURS.iter().find(|code| colour && rest.starts_with(**code));
        if let Some(code) = ours {
            escaped.push_str(code);
            rest = &rest[code.len()..];
            continue;
        }
        if (character.is_control() && character != '\n') || BIDI.contains(&character) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
        rest = &rest[character.len_utf8()..];
    }
    escaped
}

/// Lines of a name and a value, the values in one column.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    pub(crate) fn text(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let lines = self.0.iter().map(|(name, value)| format!("{name:width$}  {value}"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The published form of an event as a JSON value, for our own JSON output.
pub(crate) fn event_json(event: &SignedEvent) -> Value {
    json!({
        "sequenceNumber": event.event().sequence_number(),
        "id": event.event().id().as_str(),
        "createdAt": event.event().created_at().to_string(),
        "taintPrevious": event.event().taint_previous(),
        "payload": event.text(),
        "signature": event.signature().as_str(),
    })
}

/// A time to the second and how far it lies from `now`.
pub(crate) fn time_and_age(time: Timestamp, now: Timestamp) -> String {
    let (distance, suffix) = if time <= now {
        (now.saturating_since(time), " ago")
    } else {
        (time.saturating_since(now), " from now")
    };
    let seconds = std::time::Duration::from_secs(distance.as_secs());
    format!("{time} ({}{suffix})", humantime::format_duration(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(colour: bool) -> Output {
        Output { format: Format::Text, terminal: colour, colour }
    }

    #[test]
    fn paints_only_with_colour() {
        assert_eq!(output(false).paint(Style::Bad, "tainted"), "tainted");
        assert_eq!(output(true).paint(Style::Bad, "tainted"), "\x1b[1;31mtainted\x1b[0m");
    }

    #[test]
    fn nothing_in_a_record_moves_the_terminals_cursor() {
        let record = "rotate\x1b[2K\rtaint \u{202e}gnp\u{9b}2J\nnext";
        let shown = "rotate\\u001b[2K\\u000dtaint \\u202egnp\\u009b2J\nnext";
        assert_eq!(escaped(record, false), shown);
        assert_eq!(escaped(record, true), shown);
        assert_eq!(escaped("\x1b[32mgood\x1b[0m", true), "\x1b[32mgood\x1b[0m");
        assert_eq!(escaped("\x1b[32mgood", false), "\\u001b[32mgood");
    }

    #[test]
    fn fields_are_aligned() {
        let mut fields = Fields::default();
        fields.add("state", "serving");
        fields.add("identity", "E");
        assert_eq!(fields.text(), "state     serving\nidentity  E");
    }
}
