// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

// Row is one write of one key: a put, or a deletion, which leaves a tombstone.
// Rows are numbered by Seq in the order of their revisions, and never change.
type Row struct {
	// Seq numbers the rows from 1 on, without gaps as they are written
	// (compaction leaves gaps).
	Seq int64
	// Revision is the store's revision of the write, Sub its place among the
	// writes of that revision, from 0 on.
	Revision, Sub int64
	Key           []byte
	// CreateRevision, Version and Lease are as in mvccpb.KeyValue, all zero
	// for a tombstone.
	CreateRevision, Version, Lease int64
	// Tombstone says that the key was deleted; Value is nil then, and only then
	// is it stored as NULL.
	Tombstone bool
	Value     []byte
}

// RowMeta is a Row without its value, as Load delivers it.
type RowMeta struct {
	Seq, Revision, Sub             int64
	Key                            string
	CreateRevision, Version, Lease int64
	Tombstone                      bool
	// ValueSize in bytes.
	ValueSize int64
}

// Op says what a change does.
type Op uint8

// The operations of a change.
const (
	Put Op = iota
	Delete
)

// Lease is one granted lease.
type Lease struct {
	ID int64
	// TTL is the granted time to live, Remaining the checkpointed rest of it
	// (0: none checkpointed), both in seconds.
	TTL, Remaining int64
}

// LeaseChange puts a lease or deletes the one with its ID.
type LeaseChange struct {
	Op    Op
	Lease Lease
}

// Alarm is one raised alarm. Kind is etcd's name of it, such as "NOSPACE".
type Alarm struct {
	MemberID uint64
	Kind     string
}

// AlarmChange raises (Put) or disarms (Delete) an alarm.
type AlarmChange struct {
	Op    Op
	Alarm Alarm
}

// Member is one member of the cluster, or one that was removed from it.
type Member struct {
	ID      uint64
	Removed bool
	// JSON is what etcd's membership keeps of the member. Opaque here; the
	// view "members" reads its fields.
	JSON []byte
}

// MemberChange puts a member or deletes the row of the one with its ID.
type MemberChange struct {
	Op     Op
	Member Member
}

// User is a user of etcd's authentication.
type User struct {
	Name string
	// Password is the bcrypt hash of the password, nil for a user without.
	Password []byte
	// NoPassword says that the user can only come with a certificate.
	NoPassword bool
	// Roles in ascending order.
	Roles []string
}

// UserChange puts a user, roles included, or deletes the one with its name.
type UserChange struct {
	Op   Op
	User User
}

// Role is a role of etcd's authentication. Its permissions keep their order.
type Role struct {
	Name        string
	Permissions []Permission
}

// Permission allows what Kind says, READ, WRITE or READWRITE, on a key or on the
// range from Key to RangeEnd, which is as in a request for a range.
type Permission struct {
	Kind          string
	Key, RangeEnd []byte
}

// RoleChange puts a role, permissions included, or deletes the one with its name.
type RoleChange struct {
	Op   Op
	Role Role
}

// Names of settings that this package writes itself, from the fields of Batch.
const (
	SettingAppliedIndex = "applied_index" // integer
	SettingAppliedTerm  = "applied_term"  // integer
	SettingRevision     = "revision"      // integer
	SettingNextSeq      = "next_seq"      // integer
)

// Names of settings that the consumer writes, fixed because the schema is public.
const (
	SettingCompactScheduled = "compact_revision_scheduled" // integer
	SettingCompactFinished  = "compact_revision_finished"  // integer
	SettingConfState        = "conf_state"                 // blob, raftpb.ConfState
	SettingClusterVersion   = "cluster_version"            // text
	SettingDowngrade        = "downgrade"                  // text, etcd's JSON
	SettingAuthEnabled      = "auth_enabled"               // integer, 1: users must authenticate
	SettingAuthRevision     = "auth_revision"              // integer
)

// Setting is one named value: exactly one of Text, Blob and Int counts, in that
// order, the first that is not empty; a Setting of zero values is the integer 0.
type Setting struct {
	Name string
	Text string
	Blob []byte
	Int  int64
}

// Batch is what applying one or more entries changed. It is committed whole, in
// one transaction, perhaps together with its neighbours. Within a batch rows
// come first, then the changes in the order of their slices.
//
// The DB keeps the batch, and everything in it, until it is committed: nobody may
// change it after Write.
type Batch struct {
	// Rows in ascending order of Seq, each above every Seq written before.
	Rows     []Row
	Leases   []LeaseChange
	Alarms   []AlarmChange
	Members  []MemberChange
	Users    []UserChange
	Roles    []RoleChange
	Settings []Setting
	// AppliedIndex and AppliedTerm of the last entry in the batch, and the
	// store's Revision after it. Zero: unchanged.
	AppliedIndex, AppliedTerm uint64
	Revision                  int64
}

// rowOverhead is the memory of a Row besides its key and value, changeOverhead
// that of a change, about.
const (
	rowOverhead    = 120
	changeOverhead = 64
)

// Size returns the bytes of memory that the batch holds on to, about.
func (b *Batch) Size() int64 {
	size := int64(len(b.Rows)) * rowOverhead
	for i := range b.Rows {
		size += int64(len(b.Rows[i].Key) + len(b.Rows[i].Value))
	}
	changes := len(b.Leases) + len(b.Alarms) + len(b.Members) + len(b.Users) + len(b.Roles) + len(b.Settings) + 1
	size += int64(changes) * changeOverhead
	for i := range b.Users {
		u := &b.Users[i].User
		size += int64(len(u.Name)+len(u.Password)) + int64(len(u.Roles))*changeOverhead
	}
	for i := range b.Roles {
		size += int64(len(b.Roles[i].Role.Permissions)) * changeOverhead
	}
	for i := range b.Members {
		size += int64(len(b.Members[i].Member.JSON))
	}
	for i := range b.Settings {
		size += int64(len(b.Settings[i].Text) + len(b.Settings[i].Blob))
	}
	return size
}

// State is what the database holds besides rows.
type State struct {
	AppliedIndex, AppliedTerm uint64
	// Revision as last written, 0 before the first.
	Revision int64
	// NextSeq is 1 above the highest Seq ever written.
	NextSeq int64
	// Settings by name, those of this package included.
	Settings map[string]Setting
	// Leases, alarms, members, users and roles in ascending order of their keys.
	Leases  []Lease
	Alarms  []Alarm
	Members []Member
	Users   []User
	Roles   []Role
}

// Stats is a snapshot of the database's sizes and of its writer.
type Stats struct {
	// TotalBytes is the size of the database, FreeBytes the part of it in free
	// pages, WALBytes the size of the -wal file.
	TotalBytes, FreeBytes, WALBytes int64
	// BacklogBytes and BacklogRows wait to be committed.
	BacklogBytes int64
	BacklogRows  int
	// CommittedSeq and CommittedIndex are the last that are in the database.
	CommittedSeq   int64
	CommittedIndex uint64
	// DurableIndex is the applied index that a loss of power would leave.
	DurableIndex uint64
	// Commits and CommittedRows count transactions and rows since the start.
	Commits, CommittedRows int64
	// LastCommitSeconds and LastCheckpointSeconds are durations.
	LastCommitSeconds, LastCheckpointSeconds float64
	Checkpoints                              int64
	// PendingDeletes counts sequence numbers handed to Delete and not yet
	// deleted, DeletedRows those deleted since the start.
	PendingDeletes, DeletedRows int64
	// VacuumedPages counts the pages given back since the start. Vacuuming says
	// that more are going to be.
	VacuumedPages int64
	Vacuuming     bool
	// Err is why the writer can't write at the moment, nil if it can.
	Err error
}
