-- Copyright 2026 The keelson Authors
-- SPDX-License-Identifier: Apache-2.0

-- What version 2 of the schema adds: users and roles of etcd's authentication.

CREATE TABLE auth_user (
  name        TEXT    NOT NULL PRIMARY KEY,
  password    BLOB    NOT NULL, -- bcrypt hash; empty: none
  no_password INTEGER NOT NULL  -- 1: comes with a certificate only
) WITHOUT ROWID;

CREATE TABLE auth_user_role (
  user TEXT NOT NULL,
  role TEXT NOT NULL,
  PRIMARY KEY (user, role)
) WITHOUT ROWID;

CREATE TABLE auth_role (
  name TEXT NOT NULL PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE auth_permission (
  role      TEXT    NOT NULL,
  place     INTEGER NOT NULL, -- among the role's permissions, from 0
  kind      TEXT    NOT NULL, -- READ, WRITE or READWRITE
  key       BLOB    NOT NULL,
  range_end BLOB    NOT NULL, -- empty: the key alone; a zero byte: every key from there on
  PRIMARY KEY (role, place)
) WITHOUT ROWID;

-- Users with their roles.
CREATE VIEW users AS
SELECT
  name, NOT no_password AS has_password,
  coalesce((SELECT group_concat(role, ', ') FROM (SELECT role FROM auth_user_role WHERE user = name ORDER BY role)), '') AS roles
FROM auth_user;

-- What each role may do, and to which keys.
CREATE VIEW permissions AS
SELECT
  role, kind, CAST(key AS TEXT) AS key,
  CASE range_end WHEN x'' THEN 'the key' WHEN x'00' THEN 'from the key on' ELSE 'up to ' || CAST(range_end AS TEXT) END AS extent
FROM auth_permission;
