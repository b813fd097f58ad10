// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/test/harness"
)

// blow is what a round does to the cluster. It may leave members down and the network cut: that is healed afterwards.
type blow struct {
	name   string
	strike func(c *clusterTest)
}

// blowLength is how long a state lasts that a blow brings about: long enough for an election.
const blowLength = 2500 * time.Millisecond

// blows are those at members.
var blows = []blow{
	{"the leader is killed", func(c *clusterTest) {
		c.mustLead().Kill()
		pause(blowLength)
	}},
	{"a follower is killed and started at once", func(c *clusterTest) {
		m := c.follower()
		m.Kill()
		m.Run()
	}},
	{"a member is away for long", func(c *clusterTest) {
		m := c.follower()
		m.Kill()
		c.write(m, 2000)
	}},
	{"the leader is stopped and goes on", func(c *clusterTest) { c.stop(c.mustLead()) }},
	{"a rolling restart", func(c *clusterTest) {
		for _, m := range c.members {
			m.Stop()
			m.Restart()
		}
	}},
	{"a member's data is lost and it is replaced", func(c *clusterTest) { c.replace(c.follower()) }},
	{"leadership is moved", func(c *clusterTest) { c.moveLeader() }},
	{"all are killed", func(c *clusterTest) {
		for _, m := range c.members {
			m.Kill()
		}
	}},
	{"a majority is killed", func(c *clusterTest) {
		for _, m := range c.members[:len(c.members)/2+1] {
			m.Kill()
		}
		pause(blowLength)
	}},
	{"a follower is stopped and goes on", func(c *clusterTest) { c.stop(c.follower()) }},
	{"a member is killed while it catches up", func(c *clusterTest) {
		m := c.follower()
		m.Kill()
		c.write(m, 2000)
		m.Run()
		pause(time.Duration(c.random.IntN(300)) * time.Millisecond)
		m.Kill()
	}},
}

// partitions are those at the network.
var partitions = []blow{
	{"the leader is cut off", func(c *clusterTest) {
		c.part(c.mustLead())
		pause(blowLength)
	}},
	{"a follower is cut off", func(c *clusterTest) {
		c.part(c.follower())
		pause(blowLength)
	}},
	{"the leader's messages are lost", func(c *clusterTest) {
		leader := c.mustLead()
		for _, m := range c.members {
			if m != leader {
				c.network.Cut(c.t, leader.On(), m.On())
			}
		}
		pause(blowLength)
	}},
	{"what goes to the leader is lost", func(c *clusterTest) {
		leader := c.mustLead()
		for _, m := range c.members {
			if m != leader {
				c.network.Cut(c.t, m.On(), leader.On())
			}
		}
		pause(blowLength)
	}},
	{"two do not reach each other", func(c *clusterTest) {
		leader, other := c.mustLead(), c.follower()
		c.network.Cut(c.t, leader.On(), other.On())
		c.network.Cut(c.t, other.On(), leader.On())
		pause(blowLength)
	}},
	{"the leader is cut off, killed, and comes back", func(c *clusterTest) {
		leader := c.mustLead()
		c.part(leader)
		pause(blowLength)
		leader.Kill()
	}},
}

// mustLead is the leader, the first member if there is none at the moment.
func (c *clusterTest) mustLead() *harness.Server {
	m, err := c.leader()
	if err != nil {
		return c.members[0]
	}
	return m
}

// follower is any member but the leader.
func (c *clusterTest) follower() *harness.Server {
	leader := c.mustLead()
	for {
		if m := c.members[c.random.IntN(len(c.members))]; m != leader {
			return m
		}
	}
}

func (c *clusterTest) stop(m *harness.Server) {
	m.Signal(syscall.SIGSTOP)
	pause(blowLength)
	m.Signal(syscall.SIGCONT)
}

// part cuts one member off from all others, both ways.
func (c *clusterTest) part(m *harness.Server) {
	for _, other := range c.members {
		if other != m {
			c.network.Cut(c.t, m.On(), other.On())
			c.network.Cut(c.t, other.On(), m.On())
		}
	}
}

// write writes so much that a member that is away will need a snapshot.
func (c *clusterTest) write(away *harness.Server, entries int) {
	ctx, cancel := context.WithTimeout(c.t.Context(), healTimeout)
	defer cancel()
	var through *harness.Server
	for _, m := range c.members {
		if m != away {
			through = m
		}
	}
	kv := pb.NewKVClient(c.conns[through])
	var callers sync.WaitGroup
	for range 10 {
		callers.Go(func() {
			for range entries / 10 {
				// An entry that leaves no revision behind.
				_, err := kv.Txn(ctx, &pb.TxnRequest{
					Compare: []*pb.Compare{modRevisionIs("nobody", 1)},
					Success: []*pb.RequestOp{putOp(change{key: "nobody"})},
				})
				if err != nil {
					c.t.Errorf("write while %s is away: %v", away.Name(), err)
					return
				}
			}
		})
	}
	callers.Wait()
}

// replace takes a member's data away, and another one in.
func (c *clusterTest) replace(m *harness.Server) {
	m.Kill()
	ctx, cancel := context.WithTimeout(c.t.Context(), healTimeout)
	defer cancel()
	rest := c.without(m)
	c.removeMember(ctx, rest, m.Name())
	c.replaced++
	fresh := rest.Add(c.t, fmt.Sprintf("m%d", *nodes+c.replaced), func(cluster clientv3.Cluster, url string) error {
		var err error
		for ctx.Err() == nil {
			// Refused until the others were connected for some seconds.
			if _, err = cluster.MemberAddAsLearner(ctx, []string{url}); err == nil {
				return nil
			}
			pause(100 * time.Millisecond)
		}
		return err
	})
	fresh.Run()
	c.promote(ctx, rest[0], fresh)
	fresh.WaitReady()
	c.members = append(rest, fresh)
	c.follow(fresh, c.start)
}

func (c *clusterTest) without(gone *harness.Server) harness.Members {
	var rest harness.Members
	for _, m := range c.members {
		if m != gone {
			rest = append(rest, m)
		}
	}
	for i, f := range c.followers {
		if f.conn == c.conns[gone] {
			f.stop()
			c.followers = append(c.followers[:i:i], c.followers[i+1:]...)
			break
		}
	}
	return rest
}

func (c *clusterTest) removeMember(ctx context.Context, through harness.Members, name string) {
	cluster := pb.NewClusterClient(c.conns[through[0]])
	var err error
	for ctx.Err() == nil {
		var list *pb.MemberListResponse
		if list, err = cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: true}); err == nil {
			for _, m := range list.Members {
				if m.Name == name {
					_, err = cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: m.ID})
				}
			}
			if err == nil {
				return
			}
		}
		pause(100 * time.Millisecond)
	}
	c.t.Fatalf("remove %s: %v", name, err)
}

// promote makes a learner a voter as soon as it has caught up.
func (c *clusterTest) promote(ctx context.Context, through, learner *harness.Server) {
	cluster := pb.NewClusterClient(c.conns[through])
	var err error
	for ctx.Err() == nil {
		var list *pb.MemberListResponse
		if list, err = cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: true}); err == nil {
			for _, m := range list.Members {
				if len(m.PeerURLs) == 1 && m.PeerURLs[0] == learner.PeerURL() {
					_, err = cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: m.ID})
				}
			}
			if err == nil {
				return
			}
		}
		pause(100 * time.Millisecond)
	}
	c.t.Fatalf("promote %s: %v", learner.Name(), err)
}

func (c *clusterTest) moveLeader() {
	ctx, cancel := context.WithTimeout(c.t.Context(), healTimeout)
	defer cancel()
	leader, to := c.mustLead(), c.follower()
	status, err := pb.NewMaintenanceClient(c.conns[to]).Status(ctx, &pb.StatusRequest{})
	if err == nil {
		_, err = pb.NewMaintenanceClient(c.conns[leader]).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: status.Header.MemberId})
	}
	if err != nil {
		c.t.Errorf("move leadership from %s to %s: %v", leader.Name(), to.Name(), err)
	}
}
