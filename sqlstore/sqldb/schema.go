// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import _ "embed"

// SchemaVersion is what PRAGMA user_version says of a file with this schema. It
// grows with each change that a reader of the file could notice.
const SchemaVersion = 1

// ApplicationID is what PRAGMA application_id says of keelson's databases: "keel".
const ApplicationID = 0x6b65656c

// schemaSQL makes the tables and views. It is the public contract that
// docs/schema.md explains.
//
//go:embed schema.sql
var schemaSQL string
