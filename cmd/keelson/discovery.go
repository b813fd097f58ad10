// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/srv"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3discovery"
	"go.uber.org/zap"

	"keelson.io/keelson/etcdapi"
)

// discoveryProxy is the value of --discovery-fallback that etcd does not serve any more.
const discoveryProxy = "proxy"

// discoveryOptions are for finding the first members through another cluster.
func (c *config) discoveryOptions() []option {
	c.discovery.Secure, c.discovery.Auth = &clientv3.SecureConfig{}, &clientv3.AuthConfig{}
	d, secure, auth := &c.discovery, c.discovery.Secure, c.discovery.Auth
	const at = "discovery-config.client."
	return []option{
		{name: "discovery-token", key: "discovery-config.token", value: value(&d.Token, ""), help: "Token of the cluster in the discovery service."},
		{name: "discovery-endpoints", key: at + "endpoints", value: textList(&d.Endpoints), help: "Endpoints of the discovery service, an etcd or a keelson, separated by commas."},
		{name: "discovery-dial-timeout", key: at + "dial-timeout", value: value(&d.DialTimeout, 2*time.Second), help: "Time for connecting."},
		{name: "discovery-request-timeout", key: at + "request-timeout", value: value(&d.RequestTimeout, 5*time.Second), help: "Time for a request."},
		{name: "discovery-keepalive-time", key: at + "keepalive-time", value: value(&d.KeepAliveTime, 2*time.Second), help: "Idle time after which the service is pinged."},
		{name: "discovery-keepalive-timeout", key: at + "keepalive-timeout", value: value(&d.KeepAliveTimeout, 6*time.Second), help: "Time in which it must answer."},
		{name: "discovery-insecure-transport", key: at + "secure.insecure-transport", value: value(&secure.InsecureTransport, true), help: "Connect without TLS."},
		{name: "discovery-insecure-skip-tls-verify", key: at + "secure.insecure-skip-tls-verify", value: value(&secure.InsecureSkipVerify, false), help: "Do not check the service's certificate; for tests only."},
		{name: "discovery-cert", key: at + "secure.cert", value: value(&secure.Cert, ""), help: "Certificate for the service."},
		{name: "discovery-key", key: at + "secure.key", value: value(&secure.Key, ""), help: "Its key."},
		{name: "discovery-cacert", key: at + "secure.cacert", value: value(&secure.Cacert, ""), help: "Certificates that the service's is checked with."},
		{name: "discovery-user", key: at + "auth.username", value: value(&auth.Username, ""), help: "User at the service."},
		{name: "discovery-password", key: at + "auth.password", value: value(&auth.Password, ""), help: "The user's password."},
		{name: noFlag, key: at + "max-request-bytes", value: value(&d.MaxCallSendMsgSize, 0)},
		{name: noFlag, key: at + "max-recv-bytes", value: value(&d.MaxCallRecvMsgSize, 0)},
		{name: noFlag, key: at + "secure.server-name", value: value(&secure.ServerName, "")},
		{name: noFlag, key: at + "auth.token", value: value(&auth.Token, "")},
		{name: "discovery-fallback", key: noKey, value: oneOf(&c.discoveryFallback, "exit", discoveryProxy), help: "'exit': end when discovery fails. There is no other way since etcd 3.6."},
	}
}

// checkDiscovery refuses, in etcd's words, more than one way to find the first
// members, and half of one.
func (c *config) checkDiscovery() error {
	ways := 0
	for _, way := range []bool{c.given["initial-cluster"], c.discoverySRV != "", len(c.discovery.Endpoints) > 0} {
		if way {
			ways++
		}
	}
	empty := slices.ContainsFunc(c.discovery.Endpoints, func(e string) bool { return strings.TrimSpace(e) == "" })
	return errors.Join(
		faultIf(ways > 1, "multiple discovery or bootstrap flags are set. "+
			`Choose one of "initial-cluster", "discovery-endpoints" or "discovery-srv"`),
		faultIf((c.discovery.Token != "") != (len(c.discovery.Endpoints) > 0), "both --discovery-token and --discovery-endpoints must be set"),
		faultIf(empty, "--discovery-endpoints must not contain empty endpoints"),
		faultIf(c.discoveryFallback == discoveryProxy, "v2 proxy is deprecated, and --discovery-fallback can't be configured as %q", discoveryProxy),
		faultIf(len(c.discovery.Endpoints) > 0 && c.initialClusterState == clusterExisting,
			"discovery URL should not be set when joining existing initial cluster"),
	)
}

// discover takes the members from DNS or from a discovery service, if that is asked for.
func (c *config) discover(ctx context.Context, logger *zap.Logger) error {
	switch {
	case c.discoverySRV != "":
		return c.discoverByDNS()
	case len(c.discovery.Endpoints) > 0:
		return c.discoverByService(ctx, logger)
	}
	return nil
}

// discoverByDNS is --discovery-srv.
func (c *config) discoverByDNS() error {
	var members []string
	var failed error
	for _, service := range []struct{ scheme, name string }{{"https", "etcd-server-ssl"}, {"http", "etcd-server"}} {
		name := service.name
		if c.discoverySRVName != "" {
			name += "-" + c.discoverySRVName
		}
		found, err := srv.GetCluster(service.scheme, name, c.name, c.discoverySRV, c.initialAdvertisePeerURLs)
		if err != nil {
			failed = fmt.Errorf("--discovery-srv=%s: %w", c.discoverySRV, err)
		}
		members = append(members, found...)
	}
	if len(members) == 0 {
		return failed
	}
	c.initialCluster = strings.Join(members, ",")
	if strings.Contains(c.initialCluster, "https://") && c.peerTLS.TrustedCAFile == "" {
		c.peerTLS.ServerName = c.discoverySRV
	}
	return nil
}

// discoverByService notes this member with --discovery-endpoints and waits until
// all that the cluster is to have are there. The token is the cluster's, too.
func (c *config) discoverByService(ctx context.Context, logger *zap.Logger) error {
	c.initialClusterToken = c.discovery.Token
	alone := etcdapi.InitialCluster{
		Name: c.name, Members: c.initialCluster, Token: c.initialClusterToken,
		AdvertisePeerURLs: c.initialAdvertisePeerURLs.StringSlice(),
	}
	self, err := alone.Identity()
	if err != nil {
		return err
	}
	type found struct {
		members string
		err     error
	}
	done := make(chan found, 1)
	logger.Info("Bootstrapping cluster using v3 discovery.")
	// It can't be called off: when ctx ends it is left to end with the process.
	go func() {
		members, err := v3discovery.JoinCluster(logger, &c.discovery, types.ID(self.MemberID), c.initialCluster)
		done <- found{members, err}
	}()
	select {
	case f := <-done:
		if f.err != nil {
			return fmt.Errorf("failed to join discovery cluster (%w)", f.err)
		}
		c.initialCluster = f.members
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
