// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package tlsinfo

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
)

// source is what some files say that make sense only together.
type source[T any] struct {
	flags string // that name the files, for messages
	paths []string
	parse func(contents [][]byte) (T, error)

	value    T // of the contents that have the sum loaded
	loaded   digest
	rejected digest // of contents that were no use
	fault    string // that was told of already
}

type digest [sha256.Size]byte

// refresh reads the files and takes what they say, if it can be used. Otherwise
// the error tells why, once a fault.
func (s *source[T]) refresh() (changed bool, err error) {
	contents, sum, err := readFiles(s.paths)
	if err == nil {
		switch sum {
		case s.loaded:
			s.fault = ""
			return false, nil
		case s.rejected:
			return false, nil
		}
		var value T
		if value, err = s.parse(contents); err == nil {
			s.value, s.loaded, s.rejected, s.fault = value, sum, digest{}, ""
			return true, nil
		}
		s.rejected = sum
	}
	err = fmt.Errorf("%s=%s: %w", s.flags, strings.Join(s.paths, ","), err)
	if err.Error() == s.fault {
		return false, nil
	}
	s.fault = err.Error()
	return false, err
}

// readFiles returns the contents of files and a sum that tells them from others.
func readFiles(paths []string) (contents [][]byte, sum digest, err error) {
	h := sha256.New()
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, sum, err
		}
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(content)))
		h.Write(size[:])
		h.Write(content)
		contents = append(contents, content)
	}
	h.Sum(sum[:0])
	return contents, sum, nil
}
