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

-- The views below are for people. They read the whole history, since no index on
-- keys is kept here; the server does not use them.

-- The newest write of each key that exists.
CREATE VIEW live AS
SELECT max(seq) AS seq, revision, key, create_revision, version, lease, value
FROM history GROUP BY key HAVING value IS NOT NULL;

-- Kubernetes objects. Keys are /PREFIX/RESOURCE/[NAMESPACE/]NAME, or
-- /PREFIX/GROUP/RESOURCE/[NAMESPACE/]NAME with a dot in GROUP. Other keys have
-- only a name.
CREATE VIEW objects AS
WITH
  named AS (
    SELECT *, CAST(key AS TEXT) AS path, CAST(key AS TEXT) LIKE '/%/%/%' AS is_object FROM live),
  rest AS (
    SELECT *, CASE WHEN is_object THEN substr(path, 2 + instr(substr(path, 2), '/')) ELSE '' END AS r1 FROM named),
  first AS (
    SELECT *, substr(r1, 1, instr(r1 || '/', '/') - 1) AS s1, substr(r1, instr(r1 || '/', '/') + 1) AS r2 FROM rest),
  second AS (
    SELECT *, substr(r2, 1, instr(r2 || '/', '/') - 1) AS s2, substr(r2, instr(r2 || '/', '/') + 1) AS r3 FROM first),
  split AS (
    SELECT *,
      CASE WHEN instr(s1, '.') > 0 THEN s1 END AS api_group,
      CASE
        WHEN s1 = 'minions' THEN 'nodes'
        WHEN s1 = 'services' AND s2 = 'endpoints' THEN 'endpoints'
        WHEN instr(s1, '.') > 0 THEN s2
        ELSE s1
      END AS resource,
      CASE
        WHEN instr(s1, '.') > 0 OR s1 = 'services' AND s2 IN ('specs', 'endpoints') THEN r3
        ELSE r2
      END AS object
    FROM second)
SELECT
  api_group,
  CASE WHEN is_object THEN resource END AS resource,
  CASE WHEN is_object AND instr(object, '/') > 0 THEN substr(object, 1, instr(object, '/') - 1) END AS namespace,
  CASE WHEN is_object THEN substr(object, instr(object, '/') + 1) ELSE path END AS name,
  revision, create_revision, version, lease, length(value) AS size, value
FROM split;

-- Every write that is still there, oldest first.
CREATE VIEW changes AS
SELECT
  revision, sub,
  CASE WHEN value IS NULL THEN 'delete' WHEN version = 1 THEN 'create' ELSE 'update' END AS op,
  CAST(key AS TEXT) AS key, version, lease, length(value) AS size, value
FROM history ORDER BY seq;

-- Leases with the number of keys attached to them.
CREATE VIEW leases AS
SELECT printf('%x', id) AS id, ttl, remaining, coalesce(keys, 0) AS keys
FROM lease LEFT JOIN (SELECT lease AS holder, count(*) AS keys FROM live GROUP BY lease) ON holder = id;

-- Members, with the fields of their JSON. (Operators such as ->> would keep SQLite
-- before 3.38 from opening the file at all.)
CREATE VIEW members AS
SELECT
  id, json_extract(json, '$.name') AS name, json_extract(json, '$.peerURLs') AS peer_urls,
  json_extract(json, '$.clientURLs') AS client_urls,
  coalesce(json_extract(json, '$.isLearner'), 0) AS learner, removed
FROM (SELECT id, removed, CASE WHEN removed THEN '{}' ELSE json END AS json FROM member);
