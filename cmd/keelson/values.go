// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	neturl "net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
)

// value is where a setting of a plain type goes, with its default.
func value[T any](to *T, def T) flag.Value {
	*to = def
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	const name = "value"
	switch to := any(to).(type) {
	case *string:
		fs.StringVar(to, name, *to, "")
	case *bool:
		fs.BoolVar(to, name, *to, "")
	case *int:
		fs.IntVar(to, name, *to, "")
	case *int64:
		fs.Int64Var(to, name, *to, "")
	case *uint:
		fs.UintVar(to, name, *to, "")
	case *uint64:
		fs.Uint64Var(to, name, *to, "")
	case *time.Duration:
		fs.DurationVar(to, name, *to, "")
	case *uint32:
		return (*uint32Value)(to)
	default:
		panic(fmt.Sprintf("no flag of type %T", to)) // the caller's mistake, on every start
	}
	return fs.Lookup(name).Value
}

// unused is where the value of an ignored option goes: it must still be one.
func unused[T any](def T) flag.Value { return value(new(T), def) }

func isBool(v flag.Value) bool {
	b, ok := v.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

type uint32Value uint32

func (v *uint32Value) String() string { return strconv.FormatUint(uint64(*v), 10) }

func (v *uint32Value) Set(text string) error {
	n, err := strconv.ParseUint(text, 0, 32)
	if err == nil {
		*v = uint32Value(n)
	}
	return err
}

func (v *uint32Value) Get() any { return uint32(*v) }

// choice is a text that must be one of a few, the first of them by default.
type choice struct {
	to     *string
	valids []string
}

func oneOf(to *string, valids ...string) flag.Value {
	*to = valids[0]
	return choice{to, valids}
}

func (v choice) String() string {
	if v.to == nil {
		return ""
	}
	return *v.to
}

func (v choice) Set(text string) error {
	if !slices.Contains(v.valids, text) {
		return errors.New("invalid value")
	}
	*v.to = text
	return nil
}

func (v choice) Get() any { return *v.to }

// urls is a list of URLs. An empty text changes nothing, as in etcd.
type urls struct{ to *types.URLs }

func urlList(to *types.URLs, def string) flag.Value {
	v := urls{to}
	if err := v.Set(def); err != nil {
		panic(fmt.Sprintf("default URLs %q: %v", def, err)) // the caller's mistake, on every start
	}
	return v
}

func (v urls) String() string {
	if v.to == nil {
		return ""
	}
	return v.to.String()
}

func (v urls) Set(text string) error {
	if text == "" {
		return nil
	}
	list, err := types.NewURLs(strings.Split(text, ","))
	if err != nil {
		return err
	}
	*v.to = slices.CompactFunc(list, func(a, b neturl.URL) bool { return a.String() == b.String() })
	return nil
}

func (v urls) Get() any { return v.String() }

// list is a list of texts: separated by commas in flags, a list in the file.
type list struct{ to *[]string }

func textList(to *[]string, def ...string) flag.Value {
	*to = def
	return list{to}
}

func (v list) String() string {
	if v.to == nil {
		return ""
	}
	return strings.Join(*v.to, ",")
}

func (v list) Set(text string) error {
	*v.to = nil
	for item := range strings.SplitSeq(text, ",") {
		if !slices.Contains(*v.to, item) {
			*v.to = append(*v.to, item)
		}
	}
	return nil
}

func (v list) Get() any { return *v.to }

// names is a list that is one text in the file, too. An empty one changes nothing.
type names struct{ list }

func nameList(to *[]string, def ...string) flag.Value { return names{textList(to, def...).(list)} }

func (v names) Set(text string) error {
	if text == "" {
		return nil
	}
	return v.list.Set(text)
}

func (v names) Get() any { return v.String() }

// origins is a list of URLs that web pages come from, or * for any.
type origins struct{ names }

func originList(to *[]string, def ...string) flag.Value {
	return origins{nameList(to, def...).(names)}
}

func (v origins) Set(text string) error {
	if text == "*" || text == "" {
		return v.names.Set(text)
	}
	list, err := types.NewURLs(strings.Split(text, ","))
	if err != nil {
		return err
	}
	return v.names.Set(list.String())
}
