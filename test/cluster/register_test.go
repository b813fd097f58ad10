// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// Registers are keys that clients of all members write and read, each operation noted with the time of its call and of its
// answer. porcupine then looks for an order of the operations that explains all answers: linearizability.

const (
	registers = 5
	// registerTimeout is longer than a server takes to give a request up: what was asked for is then either done or never will be.
	registerTimeout = 12 * time.Second
)

// registerOp is what a client did to one register.
type registerOp struct {
	key      string
	kind     registerKind
	value    string // put, and swapped in
	expected string // for a swap
}

type registerKind int

const (
	readRegister registerKind = iota
	putRegister
	swapRegister // put if the register holds the expected value
	deleteRegister
)

// registerAnswer is what came of it.
type registerAnswer struct {
	unknown bool   // there was no answer
	value   string // read, and seen by a swap that failed; empty: no such key
	swapped bool
}

// registerModel is a register's behaviour. Its state is the value, empty if the key is not there.
var registerModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := make(map[string][]porcupine.Operation)
		for _, op := range history {
			key := op.Input.(registerOp).key
			byKey[key] = append(byKey[key], op)
		}
		var all [][]porcupine.Operation
		for _, ops := range byKey {
			all = append(all, ops)
		}
		return all
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		op, answer := input.(registerOp), output.(registerAnswer)
		switch op.kind {
		case readRegister:
			return answer.value == state, state
		case putRegister:
			return true, op.value
		case deleteRegister:
			return true, ""
		default:
			matches := state == op.expected
			if !answer.unknown && (answer.swapped != matches || !matches && answer.value != state) {
				return false, state
			}
			if matches {
				return true, op.value
			}
			return true, state
		}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// registerHistory is what all clients of a round did.
type registerHistory struct {
	began time.Time

	mu      sync.Mutex
	ops     []porcupine.Operation
	failed  int
	longest time.Duration // that an answered operation took
}

func (h *registerHistory) note(client int, op registerOp, answer registerAnswer, call, end time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := porcupine.Operation{ClientId: client, Input: op, Output: answer, Call: int64(call), Return: int64(end)}
	if answer.unknown {
		h.failed++
		if op.kind == readRegister {
			return // it says nothing, and changes nothing
		}
		o.Return = math.MaxInt64
	} else {
		h.longest = max(h.longest, end-call)
	}
	h.ops = append(h.ops, o)
}

// happened is what the watches tell of operations that were not answered.
type happened struct {
	values  map[string]bool // all that were written
	deletes map[string]int  // of each register, by nobody who got an answer
}

// check fails the test if no order of the operations explains the answers. Those without an answer that did not happen, and
// won't, are left out: each may come anywhere from its call on, and too many of them are too many orders. Of deletes,
// which look alike, the earliest stay, as they can come anywhere that the others can.
func (h *registerHistory) check(t *testing.T, did happened) {
	t.Helper()
	slices.SortStableFunc(h.ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var ops []porcupine.Operation
	for _, o := range h.ops {
		op := o.Input.(registerOp)
		if o.Output.(registerAnswer).unknown {
			if op.kind == deleteRegister {
				did.deletes[op.key]--
				if did.deletes[op.key] < 0 {
					continue
				}
			} else if !did.values[op.value] {
				continue
			}
		}
		ops = append(ops, o)
	}
	const patience = time.Minute
	switch result := porcupine.CheckOperationsTimeout(registerModel, ops, patience); result {
	case porcupine.Ok:
	case porcupine.Unknown:
		t.Errorf("%d operations are too many to find an order for in %v", len(ops), patience)
	default:
		path := t.TempDir() + "/history.html"
		_, info := porcupine.CheckOperationsVerbose(registerModel, ops, patience)
		err := porcupine.VisualizePath(registerModel, info, path)
		t.Errorf("no order explains %d operations: %s (%v)", len(ops), path, err)
	}
}

// registerClient works on the registers through one member, whoever that is at the moment.
type registerClient struct {
	id      int
	conn    *grpc.ClientConn
	random  *rand.Rand
	record  *record
	history *registerHistory
	serial  int
	seen    map[string]string // what it read last, for swaps
}

// run works until ctx ends. Errors are no fault: members are killed, cut off and stopped.
func (c *registerClient) run(ctx context.Context) {
	for ctx.Err() == nil {
		key := fmt.Sprintf("register-%d", c.random.IntN(registers))
		c.serial++
		op := registerOp{key: key, value: fmt.Sprintf("%d.%d", c.id, c.serial)}
		switch pick := c.random.IntN(100); {
		case pick < 40:
			op.kind = readRegister
		case pick < 70:
			op.kind = putRegister
		case pick < 95:
			op.kind, op.expected = swapRegister, c.seen[key]
		default:
			op.kind = deleteRegister
		}
		c.do(op)
	}
}

// do carries an operation out, to its end: a request that is given up may still be carried out.
func (c *registerClient) do(op registerOp) {
	ctx, cancel := context.WithTimeout(context.Background(), registerTimeout)
	defer cancel()
	kv, start, call := pb.NewKVClient(c.conn), c.record.newest.Load(), time.Since(c.history.began)
	var answer registerAnswer
	var header *pb.ResponseHeader
	var err error
	w := write{what: "register", changes: []change{{key: op.key, value: op.value}}}
	switch op.kind {
	case readRegister:
		var resp *pb.RangeResponse
		if resp, err = kv.Range(ctx, &pb.RangeRequest{Key: []byte(op.key)}); err == nil {
			header, w.changes = resp.Header, nil
			if len(resp.Kvs) > 0 {
				answer.value = string(resp.Kvs[0].Value)
			}
			c.seen[op.key] = answer.value
		}
	case putRegister:
		var resp *pb.PutResponse
		resp, err = kv.Put(ctx, &pb.PutRequest{Key: []byte(op.key), Value: []byte(op.value)})
		header = resp.GetHeader()
	case deleteRegister:
		w.changes = []change{{key: op.key, delete: true}}
		var resp *pb.DeleteRangeResponse
		if resp, err = kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(op.key)}); err == nil {
			header = resp.Header
			if resp.Deleted == 0 {
				w.changes = nil
			}
		}
	default:
		answer, header, err = c.swap(ctx, kv, op)
		if err == nil && !answer.swapped {
			w.changes = nil
		}
	}
	end := time.Since(c.history.began)
	if answer.unknown = err != nil; answer.unknown {
		if op.kind != readRegister {
			c.record.doubt(w)
		}
		c.history.note(c.id, op, answer, call, end)
		pause(50 * time.Millisecond) // a member that is down refuses quickly
		return
	}
	c.record.seen("an operation on a register", start, header.Revision)
	if op.kind != readRegister {
		c.record.ack(header.Revision, w)
	}
	c.history.note(c.id, op, answer, call, end)
}

// swap puts a value if the register holds the expected one, which none does that is not there.
func (c *registerClient) swap(ctx context.Context, kv pb.KVClient, op registerOp) (answer registerAnswer, header *pb.ResponseHeader, err error) {
	compare := &pb.Compare{
		Key: []byte(op.key), Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_Value{Value: []byte(op.expected)},
	}
	if op.expected == "" {
		compare = modRevisionIs(op.key, 0)
	}
	resp, err := kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{compare},
		Success: []*pb.RequestOp{putOp(change{key: op.key, value: op.value})},
		Failure: []*pb.RequestOp{getOp(op.key)},
	})
	if err != nil {
		return answer, nil, err
	}
	if answer.swapped = resp.Succeeded; answer.swapped {
		c.seen[op.key] = op.value
		return answer, resp.Header, nil
	}
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		answer.value = string(kvs[0].Value)
	}
	c.seen[op.key] = answer.value
	return answer, resp.Header, nil
}

// pause lets time pass. It is how long something lasts, and no wait for anything.
func pause(d time.Duration) { <-time.After(d) }
