// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"keelson.io/keelson/test/e2e/controlplane"
)

func TestMarkdown(t *testing.T) {
	r := newResults([]controlplane.StoreKind{controlplane.StoreEtcd, controlplane.StoreKeelson})
	add := func(kind controlplane.StoreKind, cpu ...time.Duration) {
		for _, d := range cpu {
			var round []sample
			for _, p := range []phase{phaseConfigMaps, phasePods, phaseIdle} {
				round = append(round, sample{phase: p, cpu: d, api: 3 * d, wall: 2 * d, rss: 64 << 20})
			}
			r.add(kind, round)
		}
	}
	add(controlplane.StoreEtcd, 9*time.Second, 4*time.Second, 1*time.Second)
	add(controlplane.StoreKeelson, 1*time.Second, 3*time.Second)
	const want = `| workload through kube-apiserver | store | store CPU s | ratio | kube-apiserver CPU s | wall s | RSS MiB |
| --- | --- | --- | --- | --- | --- | --- |
| create 2000 ConfigMaps | etcd | 4.00 | 1.00 | 12.00 | 8.0 | 64 |
| create 2000 ConfigMaps | keelson | 2.00 | 0.50 | 6.00 | 4.0 | 64 |
| scale a Deployment to 500 Pods | etcd | 4.00 | 1.00 | 12.00 | 8.0 | 64 |
| scale a Deployment to 500 Pods | keelson | 2.00 | 0.50 | 6.00 | 4.0 | 64 |
| 20s of an idle control plane | etcd | 4.00 | 1.00 | 12.00 | 8.0 | 64 |
| 20s of an idle control plane | keelson | 2.00 | 0.50 | 6.00 | 4.0 | 64 |
`
	if got := r.markdown(workload{configMaps: 2000, pods: 500, idle: 20 * time.Second}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
