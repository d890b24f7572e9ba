//! The tables of PROTOCOL.md.

use std::collections::BTreeMap;

/// The page.
pub const PROTOCOL: &str = include_str!("../../PROTOCOL.md");

/// A table, with the heading that it stands under.
pub struct Table {
    pub heading: String,
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.replace('`', "").trim().to_owned()).collect()
}

pub fn tables() -> Vec<Table> {
    let (mut tables, mut heading, mut inside) = (Vec::<Table>::new(), String::new(), false);
    for line in PROTOCOL.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        }
        if !line.starts_with('|') {
            inside = false;
        } else if !inside {
            tables.push(Table { heading: heading.clone(), header: cells(line), rows: vec![] });
            inside = true;
        } else if !line.starts_with("|-") {
            let table = tables.last_mut().expect("a header came before");
            let row = cells(line);
            assert_eq!(row.len(), table.header.len(), "{line}");
            table.rows.push(row);
        }
    }
    tables
}

/// The only table with these columns.
pub fn table(header: &[&str]) -> Table {
    let mut found: Vec<_> = tables().into_iter().filter(|table| table.header == header).collect();
    assert_eq!(found.len(), 1, "{header:?}");
    found.remove(0)
}

pub fn number(cell: &str) -> u64 {
    match cell.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).expect(cell),
        None => cell.parse().expect(cell),
    }
}

/// `0x02 SEND` → rows of (field, type, condition).
pub fn layouts() -> BTreeMap<(u8, String), Vec<[String; 3]>> {
    let is_layout = |table: &Table| table.header == ["field", "type", "condition", "meaning"];
    let split = |table: Table| {
        let (op, name) = table.heading.split_once(' ').expect("type and name");
        let rows =
            table.rows.into_iter().map(|row| [row[0].clone(), row[1].clone(), row[2].clone()]);
        ((number(op) as u8, name.to_owned()), rows.collect())
    };
    tables().into_iter().filter(is_layout).map(split).collect()
}

/// Whether a field with this condition is there: flags, `not` flags, `or` between flags, all that
/// stand between commas; or a value of the field `result`.
pub fn holds(condition: &str, bits: &BTreeMap<String, u8>, flags: u8, result: u8) -> bool {
    let set = |name: &str| flags & bits[name] != 0;
    condition.split(", ").filter(|part| !part.is_empty()).all(|part| {
        if let Some(value) = part.strip_prefix("result ") {
            number(value) == u64::from(result)
        } else if let Some(name) = part.strip_prefix("not ") {
            !set(name)
        } else {
            part.split(" or ").fold(false, |any, name| any | set(name))
        }
    })
}

pub fn flag_bits(frame: &str) -> BTreeMap<String, u8> {
    let rows = table(&["bit", "name", "frames", "meaning"]).rows.into_iter();
    rows.filter(|row| row[2].split(", ").any(|name| name == frame))
        .map(|row| (row[1].clone(), number(&row[0]) as u8))
        .collect()
}
