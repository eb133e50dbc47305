//! Replaces chosen strings in JSON as it passes by.
//!
//! Strings at given places (an object's member by name, or any member) are offered to a function and
//! replaced by what it gives; every other byte is copied as it came. Memory is constant: what lies
//! deeper than any place of interest is only counted. Nothing is validated: broken text stays broken.

/// One step from a container to what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The member of an object that has this name.
    Member(&'static str),
    /// Every member or element.
    Each,
}

/// Where a string of interest is, from the outermost container.
pub(super) type Place = &'static [Step];

/// Places have at most so many steps.
const MAX_STEPS: usize = 4;

/// Longer strings are no URLs; they are left alone.
const MAX_STRING: usize = 16 * 1024;

/// A string of interest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'t> {
    /// At which place, counted from 0.
    pub(super) place: usize,
    /// Strings in one container of the third level, and only those, have the same number here.
    pub(super) group: u64,
    /// What it stands for.
    pub(super) text: &'t str,
}

/// What a string of interest is replaced by.
pub(super) type Replace<'r> = &'r mut dyn FnMut(Found<'_>) -> Option<String>;

/// A container around the position.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    is_object: bool,
    /// The places that lead through this container, one bit each.
    places: u8,
    /// The places that lead through the current member, one bit each.
    member: u8,
    /// Whether the next string is a member's name.
    name_next: bool,
}

/// What the string at hand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Of no interest.
    Plain,
    /// A name to be compared.
    Name,
    /// A value to be offered.
    Value,
}

/// The rewriter; feed it chunk by chunk.
#[derive(Debug)]
pub(super) struct JsonRewriter {
    places: &'static [Place],
    levels: [Level; MAX_STEPS],
    /// Containers around the position that lead somewhere.
    depth: usize,
    /// Containers around the position, inside those, that lead nowhere.
    beyond: u64,
    /// Containers of the third level that were entered so far.
    groups: u64,
    string: Option<Role>,
    escaped: bool,
    /// The string at hand, unless it is plain, as it stands in the text and without quotes.
    held: Vec<u8>,
}

impl JsonRewriter {
    /// A rewriter of the strings at these places, at most eight.
    pub(super) fn new(places: &'static [Place]) -> Self {
        debug_assert!(places.len() <= 8 && places.iter().all(|place| place.len() <= MAX_STEPS));
        Self {
            places,
            levels: [Level::default(); MAX_STEPS],
            depth: 0,
            beyond: 0,
            groups: 0,
            string: None,
            escaped: false,
            held: Vec::new(),
        }
    }

    /// Takes the next bytes and appends what becomes of them; a string of interest is held back until
    /// its end.
    pub(super) fn feed(&mut self, input: &[u8], output: &mut Vec<u8>, replace: Replace<'_>) {
        let mut copied = 0;
        for (at, &byte) in input.iter().enumerate() {
            match self.string {
                Some(role) => {
                    let ends = byte == b'"' && !self.escaped;
                    self.escaped = byte == b'\\' && !self.escaped;
                    if role == Role::Plain && !ends {
                        continue;
                    }
                    if role == Role::Value {
                        // Everything up to its opening quote was copied when it began.
                        copied = at;
                    }
                    if ends {
                        self.end_string(role, output, replace);
                    } else {
                        self.hold(byte, role, output);
                        if role == Role::Value {
                            copied = at + 1;
                        }
                    }
                }
                None if byte == b'"' => {
                    let role = self.start_string();
                    if role == Role::Value {
                        output.extend_from_slice(&input[copied..=at]);
                        copied = at + 1;
                    }
                }
                None => self.structure(byte),
            }
        }
        output.extend_from_slice(&input[copied..]);
    }

    /// Gives back what was held when the text ended in the middle of a string.
    pub(super) fn finish(&mut self, output: &mut Vec<u8>) {
        if self.string.take() == Some(Role::Value) {
            output.append(&mut self.held);
        }
    }

    /// The container at hand, if it leads to a place.
    fn level(&mut self) -> Option<&mut Level> {
        let is_inside = self.beyond == 0 && self.depth > 0;
        is_inside.then(|| &mut self.levels[self.depth - 1])
    }

    /// The places to which a value leads that begins here; those of the outermost value are all.
    fn leading_here(&mut self) -> u8 {
        let all = u8::try_from((1_u16 << self.places.len()) - 1).unwrap_or(u8::MAX);
        if self.depth == 0 && self.beyond == 0 {
            return all;
        }
        self.level().map_or(0, |level| level.member)
    }

    /// Of some places, those with exactly, or else more than, so many steps.
    fn with_steps(&self, places: u8, steps: usize, exactly: bool) -> u8 {
        let fits = |place: &Place| if exactly { place.len() == steps } else { place.len() > steps };
        let bits = self.places.iter().enumerate().filter(|(_, place)| fits(place));
        places & bits.fold(0, |bits, (index, _)| bits | 1 << index)
    }

    fn start_string(&mut self) -> Role {
        let is_name = self.level().is_some_and(|level| level.is_object && level.name_next);
        let leading = self.leading_here();
        let role = if is_name {
            Role::Name
        } else if self.depth > 0 && self.with_steps(leading, self.depth, true) != 0 {
            Role::Value
        } else {
            Role::Plain
        };
        self.string = Some(role);
        self.escaped = false;
        self.held.clear();
        role
    }

    fn hold(&mut self, byte: u8, role: Role, output: &mut Vec<u8>) {
        self.held.push(byte);
        if self.held.len() > MAX_STRING {
            if role == Role::Value {
                output.extend_from_slice(&self.held);
            }
            self.held.clear();
            self.string = Some(Role::Plain);
            // A name as long as this one is none that is looked for.
            if let Some(level) = self.level().filter(|_| role == Role::Name) {
                level.member = 0;
                level.name_next = false;
            }
        }
    }

    fn end_string(&mut self, role: Role, output: &mut Vec<u8>, replace: Replace<'_>) {
        self.string = None;
        match role {
            Role::Plain => {}
            Role::Name => self.name_is_known(),
            Role::Value => {
                let leading = self.leading_here();
                let places = self.with_steps(leading, self.depth, true);
                let (place, group) = (places.trailing_zeros() as usize, self.groups);
                let text = unescaped(&self.held);
                match text.and_then(|text| replace(Found { place, group, text: &text })) {
                    Some(text) => escape_into(output, &text),
                    None => output.extend_from_slice(&self.held),
                }
            }
        }
    }

    fn name_is_known(&mut self) {
        let step = self.depth - 1;
        let name = unescaped(&self.held);
        let fits = |place: &&Place| match place.get(step) {
            Some(Step::Member(wanted)) => name.as_deref() == Some(*wanted),
            Some(Step::Each) => true,
            None => false,
        };
        let bits = self.places.iter().enumerate().filter(|(_, place)| fits(place));
        let bits = bits.fold(0, |bits, (index, _)| bits | 1 << index);
        if let Some(level) = self.level() {
            level.member = level.places & bits;
            level.name_next = false;
        }
    }

    fn structure(&mut self, byte: u8) {
        match byte {
            b'{' | b'[' => self.enter(byte == b'{'),
            b'}' | b']' if self.beyond > 0 => self.beyond -= 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' => {
                if let Some(level) = self.level().filter(|level| level.is_object) {
                    level.name_next = true;
                    level.member = 0;
                }
            }
            _ => {}
        }
    }

    fn enter(&mut self, is_object: bool) {
        let leading = self.leading_here();
        let places = self.with_steps(leading, self.depth, false);
        if self.beyond > 0 || places == 0 || self.depth == MAX_STEPS {
            self.beyond += 1;
            return;
        }
        let step = self.depth;
        self.groups += u64::from(step == 2);
        let each = self.places.iter().enumerate();
        let each = each.filter(|(_, place)| place.get(step) == Some(&Step::Each));
        let each = each.fold(0, |bits, (index, _)| bits | 1 << index);
        let member = if is_object { 0 } else { places & each };
        self.levels[self.depth] = Level { is_object, places, member, name_next: is_object };
        self.depth += 1;
    }
}

/// The text that a string stands for; `None` if it is not sound.
fn unescaped(raw: &[u8]) -> Option<String> {
    if !raw.contains(&b'\\') {
        return std::str::from_utf8(raw).ok().map(str::to_owned);
    }
    serde_json::from_slice(&[b"\"", raw, b"\""].concat()).ok()
}

fn escape_into(output: &mut Vec<u8>, text: &str) {
    let quoted = serde_json::Value::from(text).to_string();
    output.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    const PLACES: &[Place] = &[
        &[Step::Member("files"), Step::Each, Step::Member("url")],
        &[Step::Member("url")],
        &[Step::Member("v"), Step::Each, Step::Member("files"), Step::Each],
    ];

    fn rewritten(text: &[u8], pieces: &[usize]) -> Vec<u8> {
        let mut json = JsonRewriter::new(PLACES);
        let mut output = Vec::new();
        let (mut at, mut turn) = (0, 0);
        while at < text.len() {
            let length = pieces[turn.min(pieces.len() - 1)].max(1);
            let end = (at + length).min(text.len());
            json.feed(&text[at..end], &mut output, &mut |found| {
                Some(format!("<\"{}\">", found.text))
            });
            (at, turn) = (end, turn + 1);
        }
        json.finish(&mut output);
        output
    }

    fn text(text: &str) -> String {
        let whole = rewritten(text.as_bytes(), &[usize::MAX]);
        assert_eq!(rewritten(text.as_bytes(), &[1]), whole, "one byte at a time: {text}");
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn strings_at_the_places_change_and_nothing_else() {
        assert_eq!(
            text(r#"{"a":{"url":"x"}, "files" : [ {"b":[{"url":"x"}],"url" : "x"},{"url":1} ]}"#),
            r#"{"a":{"url":"x"}, "files" : [ {"b":[{"url":"x"}],"url" : "<\"x\">"},{"url":1} ]}"#
        );
        assert_eq!(text(r#"{"url":"x","url":["x"]}"#), r#"{"url":"<\"x\">","url":["x"]}"#);
        assert_eq!(text(r#"["url","x",{"url":"x"}]"#), r#"["url","x",{"url":"x"}]"#);
        assert_eq!(text(r#"{"v":{"1":{"files":["x",{}]}}}"#), {
            r#"{"v":{"1":{"files":["<\"x\">",{}]}}}"#
        });
    }

    #[test]
    fn escapes_are_read_in_names_and_values() {
        assert_eq!(text(r#"{"\u0075rl":"\u0041\/\\\""}"#), { r#"{"\u0075rl":"<\"A/\\\"\">"}"# });
        let broken = r#"{"url":"\ud800","url":"\x"}"#;
        assert_eq!(text(broken), broken);
        let bytes = b"{\"url\":\"\xff\"}";
        assert_eq!(rewritten(bytes, &[usize::MAX]), bytes);
    }

    #[test]
    fn a_text_that_ends_early_is_passed_as_it_is() {
        let whole = r#"{"files":[{"url":"abc"#;
        for end in 0..whole.len() {
            assert_eq!(text(&whole[..end]), whole[..end]);
        }
    }

    #[test]
    fn long_strings_are_left_alone() {
        let long = format!(r#"{{"url":"{0}","{0}":"x","url":"x"}}"#, "y".repeat(MAX_STRING + 1));
        let expected = format!("{},\"url\":\"<\\\"x\\\">\"}}", &long[..long.len() - 11]);
        assert_eq!(text(&long), expected);
    }

    #[test]
    fn depth_takes_no_memory() {
        let deep = "[".repeat(100_000) + "{\"url\":\"x\"}" + &"]".repeat(100_000);
        assert_eq!(text(&deep), deep);
    }

    /// The same change, on parsed values.
    fn expected(value: Value, places: &[&[Step]]) -> Value {
        let inner = |name: Option<&str>| -> Vec<&[Step]> {
            let fits = |place: &&&[Step]| match (place.first(), name) {
                (Some(Step::Member(wanted)), Some(name)) => *wanted == name,
                (Some(Step::Each), _) => true,
                _ => false,
            };
            places.iter().filter(fits).map(|place| &place[1..]).collect()
        };
        match value {
            Value::String(text) if places.iter().any(|place| place.is_empty()) => {
                Value::String(format!("<\"{text}\">"))
            }
            Value::Array(values) => {
                values.into_iter().map(|value| expected(value, &inner(None))).collect()
            }
            Value::Object(members) => {
                let change = |(name, value): (String, Value)| {
                    let value = expected(value, &inner(Some(&name)));
                    (name, value)
                };
                Value::Object(members.into_iter().map(change).collect::<Map<_, _>>())
            }
            other => other,
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let name = || prop_oneof![Just("files"), Just("url"), Just("v"), Just("é\"\\"), Just("")];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            name().prop_map(Value::from),
            "[\\PC\n\\\\\"]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((name(), inner), 0..5).prop_map(|members| {
                    Value::Object(members.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_changes_as_its_value_would(
            value in value(),
            pretty in any::<bool>(),
            pieces in proptest::collection::vec(1_usize..9, 1..20),
        ) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let output = rewritten(text.as_bytes(), &pieces);
            let parsed: Value = serde_json::from_slice(&output).expect("it was JSON and still is");
            prop_assert_eq!(parsed, expected(value, PLACES));
        }

        #[test]
        fn any_bytes_pass(
            text in proptest::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(&b"{}[]\":,\\furl"[..])], 0..300,
            ),
            piece in 1_usize..50,
        ) {
            let mut json = JsonRewriter::new(PLACES);
            let mut output = Vec::new();
            for chunk in text.chunks(piece) {
                json.feed(chunk, &mut output, &mut |_| None);
            }
            json.finish(&mut output);
            prop_assert_eq!(output, text);
        }
    }
}
