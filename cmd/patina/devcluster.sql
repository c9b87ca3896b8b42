-- A small service registry, to try things with.
CREATE TABLE services(
  id      TEXT NOT NULL PRIMARY KEY,
  name    TEXT NOT NULL,
  address TEXT NOT NULL,
  port    INTEGER NOT NULL,
  healthy INTEGER NOT NULL DEFAULT 1,
  tags    TEXT
);
CREATE INDEX services_by_name ON services(name);

CREATE TABLE flags(
  name  TEXT NOT NULL PRIMARY KEY,
  value TEXT
);
