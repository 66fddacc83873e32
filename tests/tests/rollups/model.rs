//! What a rollup must hold, computed the plain way.

/// Every function over every kind of column, as `create_rollup` takes it. The time column is `at`.
pub fn all_measures() -> String {
    let mut measures = vec![r#""rows": {"function": "count"}"#.to_owned()];
    for column in ["i", "n", "f"] {
        for function in FUNCTIONS {
            measures.push(format!(
                r#""{column}_{function}": {{"function": "{function}", "column": "{column}"}}"#
            ));
        }
    }
    format!("{{{}}}", measures.join(", "))
}

const FUNCTIONS: [&str; 8] = [
    "count", "sum", "avg", "min", "max", "stddev", "first", "last",
];

/// One rollup of a test: its table, its grouping, and how the server itself would cut its buckets.
#[derive(Debug, Clone, Copy)]
pub struct Rollup {
    pub name: &'static str,
    /// Another rollup, when it is built from one.
    pub parent: Option<&'static str>,
    pub bucket: &'static str,
    pub zone: &'static str,
    pub group_by: &'static [&'static str],
    /// Over the column `at`.
    pub start: &'static str,
    /// Step of its own partitions, if it has any.
    pub partition_by: Option<&'static str>,
}

impl Rollup {
    /// The call that makes it over `source`.
    pub fn create(&self, source: &str) -> String {
        let (source, column, measures) = match self.parent {
            Some(parent) => (parent, "bucket", "NULL".to_owned()),
            None => (source, "at", format!("'{}'", all_measures())),
        };
        let group_by: Vec<_> = self
            .group_by
            .iter()
            .map(|name| format!("'{name}'"))
            .collect();
        format!(
            "SELECT gemba.create_rollup('{}', '{source}', '{column}', '{}', ARRAY[{}]::text[], {measures}, '{}', {})",
            self.name,
            self.bucket,
            group_by.join(", "),
            self.zone,
            self.partition_by
                .map_or_else(|| "NULL".to_owned(), |step| format!("'{step}'"))
        )
    }

    fn groups(&self) -> String {
        self.group_by
            .iter()
            .map(|name| format!(", {name}"))
            .collect()
    }

    /// What it holds, in a form that can be compared: numbers as numeric, quotients rounded.
    pub fn held(&self, relation: &str) -> String {
        let mut columns = String::new();
        for column in ["i", "n", "f"] {
            for function in FUNCTIONS {
                let name = format!("{column}_{function}");
                columns.push_str(&match function {
                    "avg" => format!(", round({name}::numeric, 9) AS {name}"),
                    // The server's own root is rounded before it gets here.
                    "stddev" => format!(", round({name}::numeric, 4) AS {name}"),
                    _ => format!(", {name}::numeric"),
                });
            }
        }
        format!(
            "SELECT bucket{}, rows::numeric{columns} FROM {relation}",
            self.groups()
        )
    }

    /// The same from raw rows by a plain GROUP BY.
    pub fn expected(&self, source: &str) -> String {
        let mut columns = String::new();
        for v in ["i", "n", "f"] {
            for function in FUNCTIONS {
                let aggregate = match function {
                    "avg" => format!("round(avg({v}::numeric), 9)"),
                    "stddev" => format!("round(stddev({v}::numeric), 4)"),
                    // Of several values at one time the smallest is the first and the greatest the last.
                    "first" => format!(
                        "(array_agg({v} ORDER BY at, {v}) FILTER (WHERE {v} IS NOT NULL))[1]::numeric"
                    ),
                    "last" => format!(
                        "(array_agg({v} ORDER BY at DESC, {v} DESC) FILTER (WHERE {v} IS NOT NULL))[1]::numeric"
                    ),
                    _ => format!("{function}({v})::numeric"),
                };
                columns.push_str(&format!(", {aggregate} AS {v}_{function}"));
            }
        }
        let groups: String = (0..self.group_by.len())
            .map(|n| format!(", {}", n + 2))
            .collect();
        format!(
            "SELECT {} AS bucket{}, count(*)::numeric AS rows{columns} FROM {source} AS source GROUP BY 1{groups}",
            self.start,
            self.groups()
        )
    }
}
