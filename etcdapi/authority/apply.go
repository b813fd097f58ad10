// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/auth"

	"keelson.io/keelson/sqlstore"
)

// Suspend implements sqlstore.Authority.
func (a *Authority) Suspend() { a.epoch.Add(1) }

// Recover implements sqlstore.Authority.
func (a *Authority) Recover(s *sqlstore.Store) {
	if users := a.users.Load(); users == nil {
		a.store = s
	} else {
		// Passwords may have been changed, and users deleted, by entries that a snapshot
		// stands for: all tokens end. Requests may be reading etcd's auth store, which is
		// not made to get other tables meanwhile: they have the old one until they notice.
		_ = (*users).Close() // has no errors
	}
	a.users.Store(new(auth.NewAuthStore(a.opts.Logger, tables{s.AuthTables()}, a.tokens, a.opts.BcryptCost)))
	a.enabled.Store(a.Users().IsAuthEnabled())
	if a.epoch.Load()%2 != 0 {
		a.epoch.Add(1)
	}
}

// Applied implements sqlstore.Authority.
func (a *Authority) Applied(index uint64) { a.waiter.applied(index) }

// applicant is whom an entry's header names.
func applicant(r *pb.InternalRaftRequest) *auth.AuthInfo {
	return &auth.AuthInfo{Username: r.GetHeader().GetUsername(), Revision: r.GetHeader().GetAuthRevision()}
}

// Permit implements sqlstore.Authority by etcd's rules.
func (a *Authority) Permit(r *pb.InternalRaftRequest) error {
	if !a.Enabled() {
		return nil
	}
	info := applicant(r)
	switch {
	case r.Put != nil:
		return a.permitPut(info, r.Put, nil)
	case r.Txn != nil:
		return a.PermitTxn(info, r.Txn)
	case r.DeleteRange != nil:
		return a.permitDelete(info, r.DeleteRange)
	case r.Range != nil:
		return a.Users().IsRangePermitted(info, r.Range.Key, r.Range.RangeEnd)
	case r.LeaseRevoke != nil:
		return a.permitLease(info, r.LeaseRevoke.ID)
	}
	return nil // not a matter of single keys: the API has asked who it was
}

// permitPut does not ask again about leases that are permitted, and notes its own there
// unless that is nil.
func (a *Authority) permitPut(info *auth.AuthInfo, r *pb.PutRequest, permitted map[int64]bool) error {
	if err := a.Users().IsPutPermitted(info, r.Key); err != nil {
		return err
	}
	if !permitted[r.Lease] {
		if err := a.permitLease(info, r.Lease); err != nil {
			return err
		}
		if permitted != nil {
			permitted[r.Lease] = true
		}
	}
	if r.PrevKv {
		return a.Users().IsRangePermitted(info, r.Key, nil)
	}
	return nil
}

func (a *Authority) permitDelete(info *auth.AuthInfo, r *pb.DeleteRangeRequest) error {
	if err := a.Users().IsDeleteRangePermitted(info, r.Key, r.RangeEnd); err != nil {
		return err
	}
	if r.PrevKv {
		return a.Users().IsRangePermitted(info, r.Key, r.RangeEnd)
	}
	return nil
}

// permitLease wants that a user who ends a lease, or has another key end with it,
// may write all its keys.
func (a *Authority) permitLease(info *auth.AuthInfo, id int64) error {
	return a.permitKeys(info, id, a.Users().IsPutPermitted)
}

// permitKeys wants that a user is permitted all keys of a lease. A lease may have very
// many, and who may do everything is not asked about each.
func (a *Authority) permitKeys(info *auth.AuthInfo, lease int64, permitted func(*auth.AuthInfo, []byte) error) error {
	if lease == 0 || a.Users().IsAdminPermitted(info) == nil {
		return nil
	}
	return a.store.EachLeaseKey(lease, func(key string) error { return permitted(info, []byte(key)) })
}

// PermitTxn says why a user may not run a transaction. It must be allowed all that
// stands in it, whichever branch is taken.
func (a *Authority) PermitTxn(info *auth.AuthInfo, r *pb.TxnRequest) error {
	return a.permitTxn(info, r, make(map[int64]bool))
}

func (a *Authority) permitTxn(info *auth.AuthInfo, r *pb.TxnRequest, leases map[int64]bool) error {
	for _, c := range r.Compare {
		if err := a.Users().IsRangePermitted(info, c.Key, c.RangeEnd); err != nil {
			return err
		}
	}
	for _, branch := range [2][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if err := a.permitOp(info, op, leases); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Authority) permitOp(info *auth.AuthInfo, op *pb.RequestOp, leases map[int64]bool) error {
	switch {
	case op.GetRequestRange() != nil:
		r := op.GetRequestRange()
		return a.Users().IsRangePermitted(info, r.Key, r.RangeEnd)
	case op.GetRequestPut() != nil:
		return a.permitPut(info, op.GetRequestPut(), leases)
	case op.GetRequestDeleteRange() != nil:
		return a.permitDelete(info, op.GetRequestDeleteRange())
	case op.GetRequestTxn() != nil:
		return a.permitTxn(info, op.GetRequestTxn(), leases)
	}
	return nil
}

// Apply implements sqlstore.Authority.
func (a *Authority) Apply(index uint64, r *pb.InternalRaftRequest) (any, error) {
	defer func() { a.enabled.Store(a.Users().IsAuthEnabled()) }()
	info := applicant(r)
	switch {
	case r.Authenticate != nil:
		return a.authenticate(index, r.Authenticate)
	case r.AuthStatus != nil:
		return &pb.AuthStatusResponse{Enabled: a.Users().IsAuthEnabled(), AuthRevision: a.Users().Revision()}, nil
	case r.AuthUserGet != nil:
		if err := a.Users().IsAdminPermitted(info); err != nil && r.AuthUserGet.Name != info.Username {
			return nil, err
		}
		return response(a.Users().UserGet(r.AuthUserGet))
	case r.AuthRoleGet != nil:
		if err := a.Users().IsAdminPermitted(info); err != nil && !a.Users().HasRole(info.Username, r.AuthRoleGet.Role) {
			return nil, err
		}
		return response(a.Users().RoleGet(r.AuthRoleGet))
	}
	// Everything else is for those with the role root.
	if err := a.Users().IsAdminPermitted(info); err != nil {
		return nil, err
	}
	switch {
	case r.AuthEnable != nil:
		return response(&pb.AuthEnableResponse{}, a.Users().AuthEnable())
	case r.AuthDisable != nil:
		a.Users().AuthDisable()
		return &pb.AuthDisableResponse{}, nil
	case r.AuthUserList != nil:
		return response(a.Users().UserList(r.AuthUserList))
	case r.AuthRoleList != nil:
		return response(a.Users().RoleList(r.AuthRoleList))
	}
	if resp, handled, err := a.applyUser(r); handled {
		return resp, err
	}
	return a.applyRole(r)
}

// applyUser applies a change of a user, if r is one.
func (a *Authority) applyUser(r *pb.InternalRaftRequest) (resp any, handled bool, err error) {
	switch {
	case r.AuthUserAdd != nil:
		resp, err = response(a.Users().UserAdd(r.AuthUserAdd))
	case r.AuthUserDelete != nil:
		resp, err = response(a.Users().UserDelete(r.AuthUserDelete))
	case r.AuthUserChangePassword != nil:
		resp, err = response(a.Users().UserChangePassword(r.AuthUserChangePassword))
	case r.AuthUserGrantRole != nil:
		resp, err = response(a.Users().UserGrantRole(r.AuthUserGrantRole))
	case r.AuthUserRevokeRole != nil:
		resp, err = response(a.Users().UserRevokeRole(r.AuthUserRevokeRole))
	default:
		return nil, false, nil
	}
	return resp, true, err
}

// applyRole applies a change of a role.
func (a *Authority) applyRole(r *pb.InternalRaftRequest) (any, error) {
	switch {
	case r.AuthRoleAdd != nil:
		return response(a.Users().RoleAdd(r.AuthRoleAdd))
	case r.AuthRoleDelete != nil:
		return response(a.Users().RoleDelete(r.AuthRoleDelete))
	case r.AuthRoleGrantPermission != nil:
		return response(a.Users().RoleGrantPermission(r.AuthRoleGrantPermission))
	case r.AuthRoleRevokePermission != nil:
		return response(a.Users().RoleRevokePermission(r.AuthRoleRevokePermission))
	}
	return nil, errUnknownRequest
}

// authenticate gives the client a token. Its password was checked by the member that
// proposed the request. A simple token names the entry before its own, as with etcd:
// members of both kinds must come to the same.
func (a *Authority) authenticate(index uint64, r *pb.InternalAuthenticateRequest) (any, error) {
	if r.SimpleToken == "" && a.opts.Token == SimpleToken {
		// A member that gives other tokens has proposed it, and answers it. A token without
		// its secret part could be guessed.
		return nil, errNoSecret
	}
	ctx := context.WithValue(context.Background(), auth.AuthenticateParamIndex{}, index-1)
	ctx = context.WithValue(ctx, auth.AuthenticateParamSimpleTokenPrefix{}, r.SimpleToken)
	return response(a.Users().Authenticate(ctx, r.Name, r.Password))
}

// response keeps a nil pointer from becoming a response that is not nil.
func response[T any](resp *T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return resp, nil
}
