// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// registers is the specification of the keys: each holds a value or none ("").
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var order []string
		byKey := make(map[string][]porcupine.Operation)
		for _, o := range history {
			key := o.Input.(operation).key
			if byKey[key] == nil {
				order = append(order, key)
			}
			byKey[key] = append(byKey[key], o)
		}
		parts := make([][]porcupine.Operation, len(order))
		for i, key := range order {
			parts[i] = byKey[key]
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		op, got, value := input.(operation), output.(answer), state.(string)
		switch op.kind {
		case opPut, opPair:
			return true, op.value
		case opDelete:
			return !got.known || got.deleted == (value != ""), ""
		case opSwap:
			swaps := value == op.expected
			if swaps {
				return !got.known || got.ok, op.value
			}
			return !got.known || !got.ok && got.value == value, value
		default:
			return !got.known || got.value == value, value
		}
	},
}

// linearTime bounds the search for an order. A history that takes longer is left to the check by revisions,
// which is exact.
const linearTime = 2 * time.Second

// checkLinear searches an order of all operations that explains every answer.
func (w *World) checkLinear() {
	if porcupine.CheckOperationsTimeout(registers, w.operations, linearTime) == porcupine.Illegal {
		w.failf("invariant 6: porcupine finds no order of the operations that explains the answers")
	}
}

// valueIn returns the value of a key in the text that describe makes.
func valueIn(key, text string) string {
	rest, found := strings.CutPrefix(text, key+"=")
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, "@")
	return value
}
