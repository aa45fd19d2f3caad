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
