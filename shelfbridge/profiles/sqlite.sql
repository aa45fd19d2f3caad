-- The schema stands before the first name; each statement after it has one.
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS recent (
    position INTEGER PRIMARY KEY, who TEXT, time REAL, kind TEXT, quantity INTEGER, product TEXT, context TEXT);
CREATE INDEX IF NOT EXISTS recent_of ON recent (who, time DESC, position DESC);
CREATE TABLE IF NOT EXISTS bought (
    who TEXT, product TEXT, times INTEGER, quantity INTEGER, first REAL, last REAL,
    PRIMARY KEY (who, product)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (who TEXT, id TEXT, time REAL, arrived REAL, PRIMARY KEY (who, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten (who TEXT PRIMARY KEY, until REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS popular (product TEXT PRIMARY KEY, level REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS popular_first ON popular (level DESC, product DESC);

-- recent: of a user from a time on, latest first (of one time, what came in later), at most so many
SELECT product, kind, time, quantity, context FROM recent WHERE who = ? AND time >= ?
    ORDER BY time DESC, position DESC LIMIT ?;

-- bought: of a user, what was bought last from a time on
SELECT product, times, quantity, first, last FROM bought WHERE who = ? AND last >= ?;

-- popular: at most so many
SELECT product, level FROM popular ORDER BY level DESC, product DESC LIMIT ?;

-- forgotten: up to when a user is
SELECT until FROM forgotten WHERE who = ?;

-- arrivals: of a user's events
SELECT id, arrived FROM seen WHERE who = ?;

-- latest: time of a user's latest event
SELECT max(time) FROM recent WHERE who = ?;

-- see: an event; none where it was seen before
INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?);

-- add: an event
INSERT INTO recent (who, time, kind, quantity, product, context) VALUES (?, ?, ?, ?, ?, ?);

-- buy: some pieces at a time
INSERT INTO bought VALUES (?1, ?2, 1, ?3, ?4, ?4) ON CONFLICT DO UPDATE SET times = times + 1,
    quantity = quantity + excluded.quantity, first = min(first, excluded.first), last = max(last, excluded.last);

-- raise: the level of a product; joined is popularity.joined
INSERT INTO popular VALUES (?, ?) ON CONFLICT DO UPDATE SET level = joined(level, excluded.level);

-- forget: a user up to a time
INSERT INTO forgotten VALUES (?, ?) ON CONFLICT DO UPDATE SET until = max(until, excluded.until);

-- trim_recent: of a user to the latest so many
DELETE FROM recent WHERE position IN (
    SELECT position FROM recent WHERE who = ? ORDER BY time DESC, position DESC LIMIT -1 OFFSET ?);

-- trim_bought: of a user to the so many bought latest
DELETE FROM bought WHERE who = ?1 AND product IN (
    SELECT product FROM bought WHERE who = ?1 ORDER BY last DESC LIMIT -1 OFFSET ?2);
