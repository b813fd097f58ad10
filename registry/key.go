// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import "strings"

// Key is what a key of kube-apiserver's says. Its strings are views of the key that was parsed, or
// constants, and so are good for as long as that key's bytes are.
type Key struct {
	// Prefix is kube-apiserver's --etcd-prefix with its leading and without a trailing slash:
	// "/registry". It is "" when keys begin with the resource.
	Prefix string
	// Group is the API group, "" for the core group.
	Group string
	// Resource is the plural by which the API names it: "nodes" where the key says "minions".
	Resource string
	// Namespace is "" for an object of cluster scope.
	Namespace string
	// Name is the object's, "" for the few resources that are one object.
	Name string
}

const (
	// maxSegments is the most segments that Parse looks at: an object takes up to four of them, the
	// prefix the rest.
	maxSegments = 16
	// defaultPrefix is kube-apiserver's, as a segment.
	defaultPrefix = "registry"
)

// path is a key cut into segments without allocating.
type path struct {
	key   string
	start [maxSegments]int // of each segment, in key
	n     int
}

func (p *path) segment(i int) string {
	if i == p.n-1 {
		return p.key[p.start[i]:]
	}
	return p.key[p.start[i] : p.start[i+1]-1]
}

// before returns the part of the key in front of segment i, without the slash between.
func (p *path) before(i int) string {
	return p.key[:max(p.start[i]-1, 0)]
}

// join returns segments i and i+1 with the slash between.
func (p *path) join(i int) string {
	return p.key[p.start[i] : p.start[i+1]+len(p.segment(i+1))]
}

// rest returns how many segments follow segment i.
func (p *path) rest(i int) int { return p.n - 1 - i }

// cut fills p with key's segments. It reports false when key has an empty segment or too many, as
// no key of kube-apiserver's has.
func (p *path) cut(key string) bool {
	p.key = key
	at := 0
	if strings.HasPrefix(key, "/") {
		at = 1
	}
	for {
		if p.n == maxSegments || at >= len(key) || key[at] == '/' {
			return false
		}
		p.start[p.n] = at
		p.n++
		next := strings.IndexByte(key[at:], '/')
		if next < 0 {
			return true
		}
		at += next + 1
	}
}

// Parse reads key as that of a Kubernetes object. It reports false when it is not one. It allocates
// nothing.
func Parse(key string) (Key, bool) {
	var p path
	if !p.cut(key) {
		return Key{}, false
	}
	for i := range p.n {
		if b, size, ok := p.builtinAt(i); ok {
			return p.object(i, b, i+size), true
		}
		if p.customAt(i) {
			b := builtin{p.segment(i), p.segment(i + 1), scope(p.rest(i + 1))}
			return p.object(i, b, i+2), true
		}
	}
	if p.segment(0) == defaultPrefix && (p.n == 3 || p.n == 4) {
		return p.object(1, builtin{"", p.segment(1), scope(p.rest(1))}, 2), true
	}
	return Key{}, false
}

// builtinAt returns the built-in resource whose prefix, of size segments, begins at segment i, if an
// object of it is all that follows.
func (p *path) builtinAt(i int) (b builtin, size int, ok bool) {
	switch p.segment(i) {
	case "services", "ranges":
		if p.rest(i) == 0 {
			return builtin{}, 0, false
		}
		size = 2
		b, ok = builtins[p.join(i)]
	default:
		size = 1
		b, ok = builtins[p.segment(i)]
	}
	return b, size, ok && p.rest(i+size-1) == int(b.scope)
}

// customAt reports whether an API group begins at segment i, with a plural and an object of it.
func (p *path) customAt(i int) bool {
	if rest := p.rest(i); rest != 2 && rest != 3 {
		return false
	}
	if !strings.Contains(p.segment(i), ".") || strings.Contains(p.segment(i+1), ".") {
		return false
	}
	// What looks like a group may be part of the prefix: see the package's comment.
	if _, _, ok := p.builtinAt(i + 1); ok && i == 0 {
		return false
	}
	_, _, ok := p.builtinAt(i + 2)
	return !ok
}

// object returns the object of resource b, whose prefix begins at segment i and ends before segment
// first.
func (p *path) object(i int, b builtin, first int) Key {
	k := Key{Prefix: p.before(i), Group: b.group, Resource: b.resource}
	switch b.scope {
	case namespaced:
		k.Namespace, k.Name = p.segment(first), p.segment(first+1)
	case cluster:
		k.Name = p.segment(first)
	}
	return k
}
