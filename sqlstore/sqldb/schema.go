// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	_ "embed" // for the scripts
	"fmt"
	"strings"
)

// SchemaVersion is what PRAGMA user_version says of a file with this schema. It
// grows with each change that a reader of the file could notice.
const SchemaVersion = 2

// ApplicationID is what PRAGMA application_id says of keelson's databases: "keel".
const ApplicationID = 0x6b65656c

// schemaSQL makes the tables and views of the first version, schema2SQL what the
// second one adds. They are the public contract that docs/schema.md explains.
//
//go:embed schema.sql
var schemaSQL string

//go:embed schema2.sql
var schema2SQL string

// schemaSteps bring a file from each version to the next one, from an empty file on.
var schemaSteps = [SchemaVersion]string{schemaSQL, schema2SQL}

// upgradeScript is what a file of a version lacks, all of it or nothing.
func upgradeScript(version int64) string {
	return "BEGIN;\n" + strings.Join(schemaSteps[version:], "\n") + fmt.Sprintf("\nPRAGMA user_version=%d;\nCOMMIT;", SchemaVersion)
}
