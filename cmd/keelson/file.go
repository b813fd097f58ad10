// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.yaml.in/yaml/v2"
)

// parseFile reads the settings from a file in etcd's format, YAML or JSON, and
// from nowhere else: what was given on the command line is left behind with l,
// but for its faults and for what can't be said in a file.
func (l *commandLine) parseFile(path string) *commandLine {
	f := newCommandLine()
	f.faults = l.faults
	f.config.configFile = path
	for i, o := range l.options {
		if o.key == noKey && l.given[o.name] && !o.ignored {
			f.fault(f.set(f.options[i], o.value.String()))
		}
	}
	settings, err := readSettings(path)
	if err != nil {
		f.fault(err)
		return f
	}
	byKey := map[string]option{}
	for _, o := range f.options {
		if o.key != noKey {
			byKey[o.fileKey()] = o
		}
	}
	f.take("", settings, byKey)
	f.config.note("loaded server configuration, other configuration command line flags and environment variables "+
		"will be ignored if provided", zap.String("path", path))
	return f
}

// fileKey is the option's key in the file.
func (o option) fileKey() string {
	if o.key == "" {
		return o.name
	}
	return o.key
}

// readSettings reads with the decoder that etcd's library uses, so that the same
// texts are numbers and truths. JSON is YAML.
func readSettings(path string) (map[any]any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var settings any
	if err := yaml.UnmarshalStrict(text, &settings); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch settings := settings.(type) {
	case nil: // an empty file
		return nil, nil
	case map[any]any:
		return settings, nil
	}
	return nil, fmt.Errorf("%s: settings are written as name: value", path)
}

// take sets the options that a section of the file gives.
func (l *commandLine) take(section string, settings map[any]any, byKey map[string]option) {
	values := map[string]any{}
	for name, given := range settings {
		values[section+fmt.Sprint(name)] = given
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		given := values[key]
		o, known := byKey[key]
		switch below, isSection := given.(map[any]any); {
		case known && given != nil:
			if err := l.setFrom(o, given); err != nil {
				l.fault(fmt.Errorf("%s: %s: %w", l.config.configFile, key, err))
			}
		case known: // nothing after the colon
		case !hasSection(byKey, key):
			l.fault(fmt.Errorf("%s: unknown setting %q", l.config.configFile, key))
		case isSection:
			l.take(key+".", below, byKey)
		case given != nil:
			l.fault(fmt.Errorf("%s: invalid %s", l.config.configFile, key))
		}
	}
}

func hasSection(byKey map[string]option, name string) bool {
	for key := range byKey {
		if strings.HasPrefix(key, name+".") {
			return true
		}
	}
	return false
}

// setFrom gives an option a value of the file, which must be of its type.
func (l *commandLine) setFrom(o option, given any) error {
	text := plain(given)
	var kind any = text
	if getter, ok := o.value.(flag.Getter); ok {
		kind = getter.Get()
	}
	switch kind.(type) {
	case []string:
		items, ok := given.([]any)
		if !ok {
			return fmt.Errorf("%v is not a list", given)
		}
		texts := make([]string, 0, len(items))
		for _, item := range items {
			text, ok := item.(string)
			if !ok {
				return fmt.Errorf("%v is not a text: write it in quotes", item)
			}
			texts = append(texts, text)
		}
		l.note(o)
		*o.value.(list).to = texts
		return nil
	case bool:
		if _, ok := given.(bool); !ok {
			return fmt.Errorf("%q is neither true nor false", text)
		}
	case time.Duration:
		n, err := strconv.ParseInt(text, 10, 64)
		if !isNumber(given) || err != nil {
			return fmt.Errorf("%q is not a whole number of nanoseconds, as etcd's file wants", text)
		}
		text = time.Duration(n).String()
	case string:
		if _, ok := given.(string); !ok {
			return fmt.Errorf("%v is not a text: write it in quotes", given)
		}
	default:
		if !isNumber(given) {
			return fmt.Errorf("%q is not a number", text)
		}
	}
	err := l.set(o, text)
	if _, ok := o.value.(choice); ok && err != nil {
		return fmt.Errorf("unexpected clusterState %q", text) // the file has no other choices
	}
	return err
}

func isNumber(given any) bool {
	switch given.(type) {
	case int, int64, uint64, float64:
		return true
	}
	return false
}

// plain is a value of the file as a flag would have it: 1e6 is 1000000.
func plain(given any) string {
	if f, ok := given.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(given)
}
