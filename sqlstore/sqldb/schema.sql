-- Copyright 2026 The keelson Authors
-- SPDX-License-Identifier: Apache-2.0

-- One row for each write of a key, in the order of revisions. Rows are only ever
-- added, and removed by compaction. The value is last so that a reader of the
-- other columns never touches the pages that large values overflow to.
CREATE TABLE history (
  seq             INTEGER PRIMARY KEY, -- 1, 2, 3, ... in the order of writing
  revision        INTEGER NOT NULL,    -- the store's revision of this write
  sub             INTEGER NOT NULL,    -- place among the writes of that revision, from 0
  key             BLOB    NOT NULL,
  create_revision INTEGER NOT NULL,    -- revision that created the key; 0: deletion
  version         INTEGER NOT NULL,    -- writes of the key since then; 0: deletion
  lease           INTEGER NOT NULL,    -- id of the lease the key is attached to; 0: none
  value           BLOB                 -- NULL: deletion
);

CREATE TABLE lease (
  id        INTEGER PRIMARY KEY,
  ttl       INTEGER NOT NULL, -- seconds, as granted
  remaining INTEGER NOT NULL  -- seconds, as last checkpointed; 0: never
);

CREATE TABLE alarm (
  member TEXT NOT NULL, -- id, hexadecimal
  kind   TEXT NOT NULL, -- NOSPACE or CORRUPT
  PRIMARY KEY (member, kind)
) WITHOUT ROWID;

CREATE TABLE member (
  id      TEXT NOT NULL PRIMARY KEY, -- hexadecimal
  removed INTEGER NOT NULL,          -- 1: was removed; its id is never used again
  json    TEXT NOT NULL              -- as etcd's membership keeps it
) WITHOUT ROWID;

CREATE TABLE setting (
  name  TEXT NOT NULL PRIMARY KEY,
  value                              -- integer, text or blob, by name
) WITHOUT ROWID;
