"""The history of sessions and energy, in SQLite or PostgreSQL.

- `records`: what is stored, derived from the meters; pure.
- `spans`: what the meters counted since their last record.
- `backlog`: the records that wait to be written, bounded.
- `tables`, `migrations`: the schema and its versions.
- `url`, `connection`: SQLite and PostgreSQL behind one interface.
- `database`: opens the database, writes batches and removes expired rows.
- `queries`: reads sessions and energy for reports.
- `report_request`, `reports`: what a report contains, and its JSON and CSV.
- `writer`: the thread that writes; `sink`: its interface, without a database.
- `location`: which database a configuration uses.

The statements are SQL that both databases understand. A library that generates them would take 12 MB of memory.
"""
