// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		key  string
		want Key
	}{
		// Built-in resources as kube-apiserver 1.36 stores them.
		{"/registry/pods/default/web-0", Key{"/registry", "", "pods", "default", "web-0"}},
		{"/registry/minions/node-1.example.com", Key{"/registry", "", "nodes", "", "node-1.example.com"}},
		{"/registry/services/specs/default/web", Key{"/registry", "", "services", "default", "web"}},
		{"/registry/services/endpoints/default/web", Key{"/registry", "", "endpoints", "default", "web"}},
		{"/registry/controllers/default/rc", Key{"/registry", "", "replicationcontrollers", "default", "rc"}},
		{"/registry/events/kube-system/web.17f", Key{"/registry", "", "events", "kube-system", "web.17f"}},
		{"/registry/namespaces/kube-system", Key{"/registry", "", "namespaces", "", "kube-system"}},
		{"/registry/deployments/default/web", Key{"/registry", "apps", "deployments", "default", "web"}},
		{"/registry/jobs/default/job", Key{"/registry", "batch", "jobs", "default", "job"}},
		{"/registry/leases/kube-node-lease/n", Key{"/registry", "coordination.k8s.io", "leases", "kube-node-lease", "n"}},
		{"/registry/ingress/default/web", Key{"/registry", "networking.k8s.io", "ingresses", "default", "web"}},
		{"/registry/ipaddresses/10.0.0.1", Key{"/registry", "networking.k8s.io", "ipaddresses", "", "10.0.0.1"}},
		{"/registry/clusterroles/system:node", Key{"/registry", "rbac.authorization.k8s.io", "clusterroles", "", "system:node"}},
		{"/registry/csinodes/n1", Key{"/registry", "storage.k8s.io", "csinodes", "", "n1"}},
		{"/registry/csistoragecapacities/ns/c", Key{"/registry", "storage.k8s.io", "csistoragecapacities", "ns", "c"}},
		{"/registry/clustertrustbundles/example.com:signer:abc",
			Key{"/registry", "certificates.k8s.io", "clustertrustbundles", "", "example.com:signer:abc"}},
		{"/registry/masterleases/10.0.0.1", Key{"/registry", "", "masterleases", "", "10.0.0.1"}},
		{"/registry/ranges/serviceips", Key{"/registry", "", "serviceipallocations", "", ""}},
		{"/registry/ranges/servicenodeports", Key{"/registry", "", "servicenodeportallocations", "", ""}},
		{"/registry/apiregistration.k8s.io/apiservices/v1.apps",
			Key{"/registry", "apiregistration.k8s.io", "apiservices", "", "v1.apps"}},
		{"/registry/apiextensions.k8s.io/customresourcedefinitions/crontabs.stable.example.com",
			Key{"/registry", "apiextensions.k8s.io", "customresourcedefinitions", "", "crontabs.stable.example.com"}},

		// Custom resources, some with a built-in's plural, and objects named like resources.
		{"/registry/stable.example.com/crontabs/default/c", Key{"/registry", "stable.example.com", "crontabs", "default", "c"}},
		{"/registry/stable.example.com/pants/p", Key{"/registry", "stable.example.com", "pants", "", "p"}},
		{"/registry/crd.projectcalico.org/networkpolicies/default/deny",
			Key{"/registry", "crd.projectcalico.org", "networkpolicies", "default", "deny"}},
		{"/registry/stable.example.com/namespaces/n", Key{"/registry", "stable.example.com", "namespaces", "", "n"}},
		{"/registry/configmaps/pods/namespaces", Key{"/registry", "", "configmaps", "pods", "namespaces"}},
		{"/registry/configmaps/default/a.b.c", Key{"/registry", "", "configmaps", "default", "a.b.c"}},
		{"/registry/namespaces/pods", Key{"/registry", "", "namespaces", "", "pods"}},

		// Other prefixes.
		{"/k8s/cluster-1/pods/default/web", Key{"/k8s/cluster-1", "", "pods", "default", "web"}},
		{"/k8s.example.com/cluster-1/minions/n", Key{"/k8s.example.com/cluster-1", "", "nodes", "", "n"}},
		{"/kubernetes.io/pods/default/web", Key{"/kubernetes.io", "", "pods", "default", "web"}},
		{"/kubernetes.io/namespaces/default", Key{"/kubernetes.io", "", "namespaces", "", "default"}},
		{"/kubernetes.io/apiextensions.k8s.io/customresourcedefinitions/a.b.c",
			Key{"/kubernetes.io", "apiextensions.k8s.io", "customresourcedefinitions", "", "a.b.c"}},
		{"/kubernetes.io/stable.example.com/crontabs/default/c",
			Key{"/kubernetes.io", "stable.example.com", "crontabs", "default", "c"}},
		{"/pods/default/web", Key{"", "", "pods", "default", "web"}},
		{"pods/default/web", Key{"", "", "pods", "default", "web"}},
		{"registry/pods/default/web", Key{"registry", "", "pods", "default", "web"}},
		{"/stable.example.com/crontabs/default/c", Key{"", "stable.example.com", "crontabs", "default", "c"}},

		// Resources of a newer Kubernetes.
		{"/registry/novelties/default/n", Key{"/registry", "", "novelties", "default", "n"}},
		{"/registry/novelties/n", Key{"/registry", "", "novelties", "", "n"}},
	} {
		got, ok := Parse(c.key)
		if !ok || got != c.want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", c.key, got, ok, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, key := range []string{
		"", "/", "//", "compact_rev_key", "/registry", "/registry/", "/registry/health", "/registry/pods",
		"/registry/pods/", "/registry/pods/default/", "/registry/pods//web", "/registry/pods/default/web/",
		"/registry/pods/default/web/extra", "/registry/services", "/registry/ranges", "/a/b/c", "foo",
		"\x00\xff", strings.Repeat("/a", maxSegments+1), strings.Repeat("/a", maxSegments-1) + "/pods/default/web",
	} {
		if got, ok := Parse(key); ok {
			t.Errorf("Parse(%q) = %+v, want none", key, got)
		}
	}
}

// TestParseFindsEveryBuiltin puts objects of every built-in resource below prefixes of all sorts.
func TestParseFindsEveryBuiltin(t *testing.T) {
	segment := rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?`)
	name := rapid.StringMatching(`[a-z0-9]([-a-z0-9.:]{0,20}[a-z0-9])?`)
	var prefixes []string
	for prefix := range builtins {
		prefixes = append(prefixes, prefix)
	}
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(segment, 0, 4).Draw(t, "prefix")
		for _, part := range parts {
			if _, ok := builtins[part]; ok || part == "ranges" || part == "services" {
				t.Skip("a prefix of a resource's name")
			}
		}
		storagePrefix := rapid.SampledFrom(prefixes).Draw(t, "storage prefix")
		b := builtins[storagePrefix]
		want := Key{Group: b.group, Resource: b.resource}
		if len(parts) > 0 {
			want.Prefix = "/" + strings.Join(parts, "/")
		}
		key := want.Prefix + "/" + storagePrefix
		if b.scope == namespaced {
			want.Namespace = segment.Draw(t, "namespace")
			key += "/" + want.Namespace
		}
		if b.scope != singleton {
			want.Name = name.Draw(t, "name")
			key += "/" + want.Name
		}
		if got, ok := Parse(key); !ok || got != want {
			t.Fatalf("Parse(%q) = %+v, %v, want %+v", key, got, ok, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("/registry/pods/default/web-0")
	f.Add("/registry/services/specs")
	f.Add("/a.b/c/d/e")
	f.Fuzz(func(t *testing.T, key string) {
		k, ok := Parse(key)
		if !ok {
			if k != (Key{}) {
				t.Fatalf("no object, yet %+v", k)
			}
			return
		}
		if k.Resource == "" || !strings.HasPrefix(key, k.Prefix) {
			t.Fatalf("%+v", k)
		}
		tail := k.Name
		if k.Namespace != "" {
			tail = k.Namespace + "/" + k.Name
		}
		if !strings.HasSuffix(key, tail) {
			t.Fatalf("%q does not end in %q", key, tail)
		}
	})
}

func TestParseDoesNotAllocate(t *testing.T) {
	for _, key := range []string{"/registry/pods/default/web-0", "/registry/a.b/cs/default/c", "/registry/services/specs/a/b", "x"} {
		if n := testing.AllocsPerRun(100, func() { Parse(key) }); n != 0 {
			t.Errorf("Parse(%q): %v allocations", key, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, key := range []string{
		"/registry/pods/default/web-0", "/registry/leases/kube-node-lease/node-1",
		"/registry/stable.example.com/crontabs/default/c",
	} {
		b.Run(fmt.Sprint(strings.Split(key, "/")[2]), func(b *testing.B) {
			for b.Loop() {
				Parse(key)
			}
		})
	}
}
