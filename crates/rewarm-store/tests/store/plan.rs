//! The sweeper's decisions, on inventories made by hand.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rewarm_store::{
    AreaInfo, BlobInfo, Digest, GcPlan, Inventory, Limits, Reason, RecordInfo, SlotInfo, Stray,
    StrayKind, Target, TreeInfo,
};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn ago(seconds: u64) -> SystemTime {
    now() - Duration::from_secs(seconds)
}

fn record(kind: &str, key: &str, bytes: u64, age: u64, references: &[&str]) -> RecordInfo {
    RecordInfo {
        kind: kind.into(),
        version: 1,
        key: Digest::of(key),
        bytes,
        last_used: ago(age),
        references: references.iter().map(Digest::of).collect(),
        is_known: true,
    }
}

fn blob(name: &str, bytes: u64, age: u64) -> BlobInfo {
    BlobInfo { digest: Digest::of(name), bytes, modified: ago(age) }
}

fn limits(max_bytes: Option<u64>, max_days: Option<u64>) -> Limits {
    let max_age = max_days.map(|days| Duration::from_secs(days * DAY));
    Limits { max_bytes, max_age, ..Limits::default() }
}

/// Label, first letters of the name, reason.
fn decide(inventory: &Inventory, leased: &[&str], limits: &Limits) -> Vec<(String, Reason)> {
    let leased: HashSet<Digest> = leased.iter().map(Digest::of).collect();
    let plan = GcPlan::new(inventory, &leased, limits, now());
    plan.removals.iter().map(|removal| (name(&removal.target), removal.reason)).collect()
}

fn name(target: &Target) -> String {
    let names = ["a", "b", "c", "d", "A", "B", "C", "D", "x"];
    let of = |digest: &Digest| {
        let found = names.iter().find(|name| Digest::of(name) == *digest);
        (*found.expect("a name of these tests")).to_owned()
    };
    let detail = match target {
        Target::Record(record) => of(&record.key),
        Target::Blob(blob) => of(&blob.digest),
        Target::Tree(tree) => of(&tree.digest),
        Target::Slot(slot) => of(&slot.key),
        Target::Stray(stray) => stray.path.display().to_string(),
        Target::Area(_) => String::new(),
    };
    format!("{} {detail}", target.label()).trim_end().to_owned()
}

fn of(expected: &[(&str, Reason)]) -> Vec<(String, Reason)> {
    expected.iter().map(|(name, reason)| ((*name).to_owned(), *reason)).collect()
}

#[test]
fn least_recently_used_goes_first_and_only_until_there_is_room() {
    let inventory = Inventory {
        records: vec![
            record("http", "a", 1, 3 * DAY, &["A"]),
            record("http", "b", 1, DAY, &["B"]),
            record("http", "c", 1, 2 * DAY, &["C"]),
        ],
        blobs: vec![blob("A", 100, 3 * DAY), blob("B", 100, 3 * DAY), blob("C", 100, 3 * DAY)],
        ..Inventory::default()
    };
    let decided = decide(&inventory, &[], &limits(Some(210), None));
    assert_eq!(decided, of(&[("http-v1 a", Reason::OverSize), ("blobs A", Reason::OverSize)]));
    assert!(decide(&inventory, &[], &limits(Some(303), None)).is_empty());
    let plan = GcPlan::new(&inventory, &HashSet::new(), &limits(Some(210), None), now());
    assert_eq!(plan.kept_bytes, 202);
    let lines = "blobs: 1 (100 bytes) over the size bound\n\
        http-v1: 1 (1 bytes) over the size bound\nkept: 202 bytes";
    assert_eq!(plan.to_string(), lines);
}

#[test]
fn blob_lives_while_any_kept_record_refers_to_it() {
    let inventory = Inventory {
        records: vec![
            record("http", "a", 1, 3 * DAY, &["A"]),
            record("wheel", "b", 1, 0, &["A", "A"]),
        ],
        blobs: vec![blob("A", 100, 3 * DAY)],
        ..Inventory::default()
    };
    let decided = decide(&inventory, &[], &limits(None, Some(2)));
    assert_eq!(decided, of(&[("http-v1 a", Reason::Unused)]));
    let all = decide(&inventory, &[], &limits(Some(0), None));
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["http-v1 a", "wheel-v1 b", "blobs A"]);
}

#[test]
fn unreferenced_blob_goes_after_its_grace() {
    let inventory = Inventory {
        blobs: vec![blob("A", 1, HOUR + 1), blob("B", 1, HOUR - 1)],
        ..Inventory::default()
    };
    assert_eq!(
        decide(&inventory, &[], &limits(None, None)),
        of(&[("blobs A", Reason::Unreferenced)])
    );
    assert!(decide(&inventory, &["A"], &limits(Some(0), None)).is_empty(), "leased or young");
}

#[test]
fn leased_entries_stay_whatever_the_limits() {
    let inventory = Inventory {
        records: vec![
            record("http", "a", 1, 9 * DAY, &["A"]),
            record("tree", "A", 1, 9 * DAY, &["A"]),
            record("http", "b", 1, 9 * DAY, &[]),
        ],
        blobs: vec![blob("A", 1, 9 * DAY)],
        trees: vec![TreeInfo {
            digest: Digest::of("A"),
            bytes: 1,
            last_used: ago(9 * DAY),
            is_listed: true,
        }],
        slots: vec![SlotInfo {
            kind: "mypy".into(),
            key: Digest::of("c"),
            bytes: 1,
            last_used: ago(9 * DAY),
        }],
        ..Inventory::default()
    };
    let decided = decide(&inventory, &["A", "b", "c"], &Limits::nothing());
    assert!(decided.is_empty(), "{decided:?}");
}

#[test]
fn tree_goes_after_what_refers_to_it_and_takes_its_record_along() {
    let tree =
        |age| TreeInfo { digest: Digest::of("A"), bytes: 50, last_used: ago(age), is_listed: true };
    let inventory = |age| Inventory {
        records: vec![
            record("tree", "A", 1, 9 * DAY, &["A"]),
            record("env", "a", 1, age, &["A"]),
            record("env", "b", 1, 4 * DAY, &[]),
        ],
        blobs: vec![blob("A", 10, 9 * DAY)],
        trees: vec![tree(9 * DAY)],
        ..Inventory::default()
    };
    let decided = decide(&inventory(DAY), &[], &limits(None, Some(3)));
    assert_eq!(decided, of(&[("env-v1 b", Reason::Unused)]));
    let decided = decide(&inventory(5 * DAY), &[], &limits(Some(62), None));
    assert_eq!(decided, of(&[("env-v1 a", Reason::OverSize)]));
    let decided = decide(&inventory(5 * DAY), &[], &limits(Some(61), None));
    let names: Vec<_> = decided.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["env-v1 a", "trees A", "blobs A"]);
}

#[test]
fn directory_of_a_tree_without_a_record_goes_after_its_grace() {
    let tree = |name: &str, age| TreeInfo {
        digest: Digest::of(name),
        bytes: 1,
        last_used: ago(age),
        is_listed: false,
    };
    let inventory =
        Inventory { trees: vec![tree("A", DAY), tree("B", 60)], ..Inventory::default() };
    assert_eq!(
        decide(&inventory, &[], &limits(None, None)),
        of(&[("trees A", Reason::Unreferenced)])
    );
}

#[test]
fn clock_that_jumped_back_removes_nothing_by_age() {
    let mut future = record("http", "a", 1, 0, &["A"]);
    future.last_used = now() + Duration::from_secs(400 * DAY);
    let mut orphan = blob("B", 1, 0);
    orphan.modified = future.last_used;
    let inventory = Inventory {
        records: vec![future],
        blobs: vec![blob("A", 1, DAY), orphan],
        others: vec![AreaInfo {
            name: "http-v9".into(),
            entries: 1,
            bytes: 1,
            last_used: now() + Duration::from_secs(400 * DAY),
            is_readable: true,
        }],
        ..Inventory::default()
    };
    assert!(decide(&inventory, &[], &limits(None, Some(1))).is_empty());
    let decided = decide(&inventory, &[], &limits(Some(2), None));
    assert_eq!(decided.len(), 2, "the size bound still holds: {decided:?}");
}

#[test]
fn other_format_is_left_alone_with_what_it_refers_to_until_nobody_uses_it() {
    let inventory = |age| {
        let mut other = record("http", "a", 1, age, &["A"]);
        other.version = 9;
        other.is_known = false;
        Inventory {
            records: vec![other, record("http", "b", 1, 0, &["B"])],
            blobs: vec![blob("A", 1000, 90 * DAY), blob("B", 10, DAY)],
            others: vec![AreaInfo {
                name: "http-v9".into(),
                entries: 1,
                bytes: 1,
                last_used: ago(age),
                is_readable: true,
            }],
            ..Inventory::default()
        }
    };
    let decided = decide(&inventory(29 * DAY), &[], &limits(Some(11), Some(1)));
    assert!(decided.is_empty(), "its blobs do not count against the bound: {decided:?}");
    let decided = decide(&inventory(30 * DAY), &[], &limits(Some(11), Some(1)));
    let expected = [("http-v9", Reason::OtherFormat), ("blobs A", Reason::Unreferenced)];
    assert_eq!(decided, of(&expected));
}

#[test]
fn unreadable_format_prolongs_the_grace_of_what_nothing_refers_to() {
    let other = |age| AreaInfo {
        name: "http-v9".into(),
        entries: 1,
        bytes: 1,
        last_used: ago(age),
        is_readable: false,
    };
    let mut inventory = Inventory {
        blobs: vec![blob("A", 1, DAY), blob("B", 1, 31 * DAY)],
        others: vec![other(DAY)],
        ..Inventory::default()
    };
    assert_eq!(
        decide(&inventory, &[], &limits(None, None)),
        of(&[("blobs B", Reason::Unreferenced)])
    );
    inventory.others = vec![other(31 * DAY)];
    assert_eq!(decide(&inventory, &[], &limits(None, None)).len(), 3);
}

#[test]
fn strays_go_by_their_own_rules() {
    let stray = |kind, path: &str, age, is_in_use| Stray {
        kind,
        path: path.into(),
        bytes: 1,
        modified: ago(age),
        is_in_use,
    };
    let inventory = Inventory {
        strays: vec![
            stray(StrayKind::Temporary, "tmp/dead", 0, false),
            stray(StrayKind::Temporary, "tmp/alive", 9 * DAY, true),
            stray(StrayKind::Lock, "locks/old", 2 * HOUR, false),
            stray(StrayKind::Lock, "locks/new", 60, false),
            stray(StrayKind::Partial, "partial-v1/old", 7 * DAY, false),
            stray(StrayKind::Partial, "partial-v1/new", 6 * DAY, false),
            stray(StrayKind::Damaged, "http-v1/x", 0, false),
        ],
        ..Inventory::default()
    };
    let decided = decide(&inventory, &[], &limits(Some(1), None));
    let expected = [
        ("temporary files tmp/dead", Reason::Abandoned),
        ("locks locks/old", Reason::Abandoned),
        ("damaged records http-v1/x", Reason::Damaged),
        ("partial downloads partial-v1/old", Reason::Abandoned),
    ];
    assert_eq!(decided, of(&expected));
}

#[test]
fn slots_and_records_are_swept_in_one_order() {
    let slot = |key: &str, age| SlotInfo {
        kind: "mypy".into(),
        key: Digest::of(key),
        bytes: 10,
        last_used: ago(age),
    };
    let inventory = Inventory {
        records: vec![record("http", "b", 10, 2 * DAY, &[])],
        slots: vec![slot("a", 3 * DAY), slot("c", DAY)],
        ..Inventory::default()
    };
    let decided = decide(&inventory, &[], &limits(Some(10), None));
    assert_eq!(decided, of(&[("slots a", Reason::OverSize), ("http-v1 b", Reason::OverSize)]));
}

#[test]
fn cut_off_downloads_count_and_go_least_recently_written_first_unless_under_way() {
    let part = |path: &str, bytes, age, is_in_use| Stray {
        kind: StrayKind::Partial,
        path: path.into(),
        bytes,
        modified: ago(age),
        is_in_use,
    };
    let inventory = Inventory {
        records: vec![record("http", "a", 10, 2 * DAY, &[])],
        strays: vec![
            part("partial-v1/1.data", 50, 3 * DAY, true),
            part("partial-v1/2.data", 50, DAY, false),
            part("partial-v1/3.data", 50, 4 * DAY, false),
            part("partial-v1/3.kept", 1, 5 * DAY, false),
        ],
        ..Inventory::default()
    };
    let goes = |max| decide(&inventory, &[], &limits(Some(max), None));
    let (over, oldest) = (Reason::OverSize, "partial downloads partial-v1/3.data");
    assert!(goes(161).is_empty());
    let first = [(oldest, over), ("partial downloads partial-v1/3.kept", over)];
    assert_eq!(goes(160), of(&first), "the head goes with its data");
    assert_eq!(goes(109), of(&[first[0], first[1], ("http-v1 a", over)]));
    let last = ("partial downloads partial-v1/2.data", over);
    assert_eq!(goes(0), of(&[first[0], first[1], ("http-v1 a", over), last]));
    let plan = GcPlan::new(&inventory, &HashSet::new(), &limits(Some(0), None), now());
    assert_eq!(plan.kept_bytes, 50, "what is under way counts, and stays");
}

#[test]
fn young_blob_goes_with_its_last_record_but_not_before_a_record_that_may_be_coming() {
    let inventory = |blob_age| Inventory {
        records: vec![record("http", "a", 1, 60, &["A"])],
        blobs: vec![blob("A", 100, blob_age), blob("B", 7, 60)],
        ..Inventory::default()
    };
    let goes = |blob_age| decide(&inventory(blob_age), &[], &limits(Some(0), None));
    let record = ("http-v1 a", Reason::OverSize);
    assert_eq!(goes(61), of(&[record, ("blobs A", Reason::OverSize)]));
    assert_eq!(goes(30), of(&[record]), "it was written again since");
    let plan = GcPlan::new(&inventory(61), &HashSet::new(), &limits(Some(0), None), now());
    assert_eq!((plan.waiting.entries, plan.waiting.bytes), (1, 7), "{plan:?}");
    assert_eq!(plan.kept_bytes, 7);
}

#[test]
fn unreadable_format_may_refer_to_a_young_blob() {
    let inventory = Inventory {
        records: vec![record("http", "a", 1, 60, &["A"])],
        blobs: vec![blob("A", 100, 61)],
        others: vec![AreaInfo {
            name: "http-v9".into(),
            entries: 1,
            bytes: 1,
            last_used: ago(DAY),
            is_readable: false,
        }],
        ..Inventory::default()
    };
    let decided = decide(&inventory, &[], &limits(Some(0), None));
    assert_eq!(decided, of(&[("http-v1 a", Reason::OverSize)]));
}

#[test]
fn chosen_records_go_with_what_only_they_refer_to() {
    let inventory = Inventory {
        records: vec![
            record("http", "a", 1, DAY, &["A", "B"]),
            record("http", "b", 1, DAY, &["A"]),
            record("http", "c", 1, DAY, &["B", "C"]),
            record("http", "d", 1, DAY, &["D"]),
            record("tree", "A", 1, DAY, &["A"]),
        ],
        blobs: ["A", "B", "C", "D"].map(|name| blob(name, 100, 2 * DAY)).into(),
        trees: vec![TreeInfo {
            digest: Digest::of("A"),
            bytes: 300,
            last_used: ago(DAY),
            is_listed: true,
        }],
        ..Inventory::default()
    };
    let remove = |chosen: &[usize], leased: &[&str]| {
        let chosen: Vec<_> = chosen.iter().map(|&at| inventory.records[at].clone()).collect();
        let leased: HashSet<Digest> = leased.iter().map(Digest::of).collect();
        let plan = GcPlan::removing(&inventory, &leased, &chosen, &Limits::default(), now());
        let mut names: Vec<_> = plan.removals.iter().map(|r| name(&r.target)).collect();
        names.sort();
        (names.join(", "), plan.shared.entries, plan.in_use.entries)
    };
    assert_eq!(remove(&[0], &[]), ("http-v1 a".into(), 2, 0));
    assert_eq!(remove(&[0, 2], &[]), ("blobs B, blobs C, http-v1 a, http-v1 c".into(), 1, 0));
    assert_eq!(remove(&[0, 1, 4], &[]), ("blobs A, http-v1 a, http-v1 b, trees A".into(), 1, 0));
    assert_eq!(remove(&[3], &["D"]), (String::new(), 1, 1));
}
