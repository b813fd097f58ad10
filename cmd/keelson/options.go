// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	etcdflags "go.etcd.io/etcd/pkg/v3/flags"
	"go.uber.org/zap"
)

// option is one setting: its flag, its variable, its key in --config-file, its
// default and its help all follow from this.
type option struct {
	name  string     // of the flag; the variable is ETCD_NAME; noFlag if there is only a key
	value flag.Value // where it goes; holds the default until it is set
	help  string
	// key is where it stands in the file, with its sections before dots: the name
	// unless said, noKey if the file has none.
	key     string
	ignored bool   // has no meaning here: accepted with a warning
	shown   string // default as the help gives it, if that is not the value's
}

const noKey, noFlag = "-", ""

// section groups options under a title of the help.
type section struct {
	title   string
	options []option
}

// sections are all options, with c as their destination. Making them fills c
// with the defaults.
func (c *config) sections() []section {
	return []section{
		{"Member", c.memberOptions()},
		{"Clustering", c.clusterOptions()},
		{"Security", c.securityOptions()},
		{"Auth", c.authOptions()},
		{"Profiling and monitoring", c.monitoringOptions()},
		{"Logging", c.loggingOptions()},
		{"Distributed tracing", c.tracing.options()},
		{"Features", c.featureOptions()},
		{"Unsafe", c.unsafeOptions()},
	}
}

// commandLine reads settings into a config. It goes on after a fault, so that one
// run shows all of them.
type commandLine struct {
	config  *config
	options []option
	given   map[string]bool
	faults  []error
}

func newCommandLine() *commandLine {
	l := &commandLine{config: &config{}, given: map[string]bool{}}
	for _, s := range l.config.sections() {
		l.options = append(l.options, s.options...)
	}
	l.config.given = l.given
	return l
}

// errPrinted says that what was asked for is done: help or versions.
var errPrinted = errors.New("printed")

// parse reads the command line and, for flags that are not given there, ETCD_*
// variables; or, as etcd does, nothing but the file if there is one.
func parse(args []string, out io.Writer) (*config, error) {
	l := newCommandLine()
	c := l.config
	if err := l.parseArgs(args); errors.Is(err, flag.ErrHelp) {
		printHelp(out)
		return nil, errPrinted
	}
	if c.printVersion && len(l.faults) == 0 {
		printVersion(out)
		return nil, errPrinted
	}
	path := c.configFile
	if path == "" {
		path = os.Getenv(variable("config-file"))
	}
	if path == "" {
		l.parseEnv(os.Environ())
	} else {
		l = l.parseFile(path)
	}
	l.fault(l.config.complete())
	if err := errors.Join(l.faults...); err != nil {
		return nil, err
	}
	return l.config, nil
}

func (l *commandLine) fault(err error) {
	if err != nil {
		l.faults = append(l.faults, err)
	}
}

func (l *commandLine) parseArgs(args []string) error {
	fs := flag.NewFlagSet("keelson", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	for _, o := range l.options {
		if o.name != noFlag {
			fs.Var(argument{o, l}, o.name, o.help)
		}
	}
	for {
		err := fs.Parse(args)
		if err == nil {
			break
		}
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		l.fault(err)
		if len(fs.Args()) == len(args) {
			args = args[1:] // package flag leaves an argument without a name where it is
		} else {
			args = fs.Args()
		}
		for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			args = args[1:] // the value of a flag that is not known
		}
	}
	if fs.NArg() > 0 {
		l.fault(fmt.Errorf("%q is not a valid flag", fs.Arg(0)))
	}
	return nil
}

// argument is an option as package flag sees it. Its faults go to the command
// line, so that parsing goes on.
type argument struct {
	option
	line *commandLine
}

func (a argument) String() string { return "" }

func (a argument) Set(text string) error {
	if err := a.line.set(a.option, text); err != nil && isBool(a.value) {
		a.line.fault(fmt.Errorf("invalid boolean value %q for -%s: %w", text, a.name, err))
	} else if err != nil {
		a.line.fault(fmt.Errorf("invalid value %q for flag -%s: %w", text, a.name, err))
	}
	return nil
}

// IsBoolFlag lets flags that are true or false stand without a value.
func (a argument) IsBoolFlag() bool { return isBool(a.value) }

// set gives an option its value, or leaves it as it was.
func (l *commandLine) set(o option, text string) error {
	l.note(o)
	before := o.value.String()
	err := o.value.Set(text)
	if err != nil {
		_ = o.value.Set(before) // was its value, so it is one
	}
	return err
}

// note keeps in mind that an option was given.
func (l *commandLine) note(o option) {
	l.given[o.name] = true
	if o.ignored {
		l.config.warn("flag has no meaning in keelson and is ignored", zap.String("flag", o.name))
	}
}

// parseEnv takes options from variables. A variable beside its flag is an error,
// as in etcd: one of the two would be ignored silently.
func (l *commandLine) parseEnv(environ []string) {
	values := map[string]string{}
	for _, pair := range environ {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "ETCD_") {
			values[name] = value
		}
	}
	if _, ok := values[variable("version")]; ok {
		l.config.warn("cannot set special environment variable", zap.String("key", variable("version")))
		delete(values, variable("version"))
	}
	for _, o := range l.options {
		name := variable(o.name)
		value, ok := values[name]
		if !ok || o.name == noFlag {
			continue
		}
		delete(values, name)
		if l.given[o.name] {
			l.fault(fmt.Errorf("conflicting environment variable is shadowed by corresponding command-line flag "+
				"(either unset environment variable or disable flag)): %s", name))
			continue
		}
		if value == "" {
			continue
		}
		if err := l.set(o, value); err != nil {
			l.fault(fmt.Errorf("invalid value %q for %s: %w", value, name, err))
		}
	}
	for name := range values {
		l.config.warn("unrecognized environment variable", zap.String("environment-variable", name))
	}
}

// variable is the environment's name of a flag.
func variable(flagName string) string { return etcdflags.FlagToEnv("ETCD", flagName) }
