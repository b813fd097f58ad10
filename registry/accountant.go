// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Op is why the store tells of a write.
type Op uint8

const (
	// OpPut is a put, whether it creates the key or not.
	OpPut Op = iota
	// OpDelete is a key's deletion, by a request or with its lease.
	OpDelete
	// OpCompact is the removal of old revisions.
	OpCompact
	// OpLoad is a key that the store found on disk at start.
	OpLoad
)

// Write is a change of what the store keeps of one key.
type Write struct {
	// Key is looked at during the call only.
	Key string
	// OldSize and NewSize are the bytes of the key's live encoded KeyValue before and after the
	// write; 0 means that the key does not exist. A compaction leaves both alike.
	OldSize, NewSize int64
	// History is by how many bytes the encoded KeyValues of the key's revisions that are not live
	// grow; a compaction's is negative.
	History int64
	Op      Op
}

const (
	// DefaultMaxResources is the number of resources that an Accountant tells apart unless it is told
	// another. A cluster with very many CustomResourceDefinitions has some hundreds.
	DefaultMaxResources = 2000
	// otherResource is under which everything else is counted: keys that are no Kubernetes object's,
	// and resources above the limit.
	otherResource = "other"
)

// The operations that an Accountant counts, as the label op has them.
const (
	opCreate = iota
	opUpdate
	opDelete
	countedOps
)

var opNames = [countedOps]string{"create", "update", "delete"}

// Accountant keeps objects, bytes and writes by resource, and is their prometheus.Collector. One
// goroutine may call Observe; any may collect meanwhile, and sees each figure as of some moment
// during the scrape.
type Accountant struct {
	maxResources int
	byName       map[groupResource]*account // Observe's alone
	accounts     atomic.Pointer[[]*account] // grows by replacement; what collectors read
	other        *account
}

type groupResource struct{ group, resource string }

// account is one resource's figures. They are written by one goroutine, so that loads and stores
// would do; adds are as cheap and say more.
type account struct {
	groupResource
	objects      atomic.Int64
	liveBytes    atomic.Int64
	historyBytes atomic.Int64
	writes       [countedOps]atomic.Int64
}

// NewAccountant returns an Accountant that tells maxResources resources apart, at least one.
func NewAccountant(maxResources int) *Accountant {
	a := &Accountant{
		maxResources: max(maxResources, 1),
		byName:       make(map[groupResource]*account),
		other:        &account{groupResource: groupResource{"", otherResource}},
	}
	a.accounts.Store(&[]*account{a.other})
	return a
}

// Observe counts a write. It allocates only for the first write of a resource.
func (a *Accountant) Observe(w Write) {
	acc := a.account(w.Key)
	switch {
	case w.OldSize == 0 && w.NewSize != 0:
		acc.objects.Add(1)
	case w.OldSize != 0 && w.NewSize == 0:
		acc.objects.Add(-1)
	}
	if w.NewSize != w.OldSize {
		acc.liveBytes.Add(w.NewSize - w.OldSize)
	}
	if w.History != 0 {
		acc.historyBytes.Add(w.History)
	}
	switch w.Op {
	case OpPut:
		if w.OldSize == 0 {
			acc.writes[opCreate].Add(1)
		} else {
			acc.writes[opUpdate].Add(1)
		}
	case OpDelete:
		acc.writes[opDelete].Add(1)
	}
}

// Reset forgets what is stored: it is told anew, as OpLoad. Writes stay counted.
func (a *Accountant) Reset() {
	for _, acc := range *a.accounts.Load() {
		acc.objects.Store(0)
		acc.liveBytes.Store(0)
		acc.historyBytes.Store(0)
	}
}

// account returns that of key's resource.
func (a *Accountant) account(key string) *account {
	k, ok := Parse(key)
	if !ok {
		return a.other
	}
	name := groupResource{k.Group, k.Resource}
	if acc := a.byName[name]; acc != nil {
		return acc
	}
	if len(a.byName) == a.maxResources {
		return a.other
	}
	acc := &account{groupResource: groupResource{strings.Clone(k.Group), strings.Clone(k.Resource)}}
	a.byName[acc.groupResource] = acc
	old := *a.accounts.Load()
	grown := append(make([]*account, 0, len(old)+1), old...)
	grown = append(grown, acc)
	a.accounts.Store(&grown)
	return acc
}

var (
	resourceLabels = []string{"group", "resource"}

	objectsDesc = prometheus.NewDesc("keelson_registry_objects",
		"Objects that exist, by resource.", resourceLabels, nil)
	liveBytesDesc = prometheus.NewDesc("keelson_registry_live_bytes",
		"Bytes of the newest revisions of the objects that exist, by resource.", resourceLabels, nil)
	historyBytesDesc = prometheus.NewDesc("keelson_registry_history_bytes",
		"Bytes of older revisions that are not compacted yet, by resource.", resourceLabels, nil)
	writesDesc = prometheus.NewDesc("keelson_registry_writes_total",
		"Writes applied since the start, by resource and operation.", append(resourceLabels[:2:2], "op"), nil)
)

// Describe sends the four descriptions.
func (a *Accountant) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{objectsDesc, liveBytesDesc, historyBytesDesc, writesDesc} {
		ch <- desc
	}
}

// Collect sends the figures of all resources seen since the start. "other" is left out for as long
// as nothing was counted under it.
func (a *Accountant) Collect(ch chan<- prometheus.Metric) {
	for _, acc := range *a.accounts.Load() {
		if acc == a.other && acc.unused() {
			continue
		}
		for desc, value := range map[*prometheus.Desc]*atomic.Int64{
			objectsDesc: &acc.objects, liveBytesDesc: &acc.liveBytes, historyBytesDesc: &acc.historyBytes,
		} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value.Load()),
				acc.group, acc.resource)
		}
		for op := range acc.writes {
			ch <- prometheus.MustNewConstMetric(writesDesc, prometheus.CounterValue, float64(acc.writes[op].Load()),
				acc.group, acc.resource, opNames[op])
		}
	}
}

// unused reports whether nothing was counted.
func (acc *account) unused() bool {
	writes := int64(0)
	for op := range acc.writes {
		writes += acc.writes[op].Load()
	}
	return writes == 0 && acc.objects.Load() == 0 && acc.historyBytes.Load() == 0
}
