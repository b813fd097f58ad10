// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"encoding/base64"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/auth"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"keelson.io/keelson/sqlstore/wire"
)

// authService is etcd's Auth service. All of it goes through the log, questions
// included, and who may ask is decided when the entry is applied.
type authService struct {
	*core
	// A method that is added to the API should not go unnoticed.
	pb.UnsafeAuthServer
}

// proposeAuth proposes a request and returns the response that applying it gave,
// with a header.
func proposeAuth[T proto.Message](ctx context.Context, s *authService, kind wire.Kind, r proto.Message) (T, error) {
	outcome, err := s.proposeMessage(ctx, kind, r)
	if err != nil {
		var none T
		return none, grpcError(err)
	}
	resp := outcome.Response.(T)
	m := resp.ProtoReflect()
	m.Set(m.Descriptor().Fields().ByName("header"), protoreflect.ValueOfMessage(s.pbHeader(outcome.Revision).ProtoReflect()))
	return resp, nil
}

// AuthEnable has clients authenticate from now on.
func (s *authService) AuthEnable(ctx context.Context, r *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	return proposeAuth[*pb.AuthEnableResponse](ctx, s, wire.KindAuthEnable, r)
}

// AuthDisable has everybody do everything again.
func (s *authService) AuthDisable(ctx context.Context, r *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	return proposeAuth[*pb.AuthDisableResponse](ctx, s, wire.KindAuthDisable, r)
}

// AuthStatus tells whether clients authenticate, and the revision of users and roles.
func (s *authService) AuthStatus(ctx context.Context, r *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	return proposeAuth[*pb.AuthStatusResponse](ctx, s, wire.KindAuthStatus, r)
}

// Authenticate gives a client a token for its password. The log sees neither: the
// password is compared here, and what a simple token begins with is chosen here.
func (s *authService) Authenticate(ctx context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	defer func() { r.Password = "" }() // interceptors may log the request
	if err := s.linearize(ctx); err != nil {
		return nil, grpcError(err)
	}
	for {
		checked, err := s.auth.Users().CheckPassword(r.Name, r.Password)
		if err != nil {
			if !errors.Is(err, auth.ErrAuthNotEnabled) {
				s.opts.Logger.Warn("invalid authentication was requested", zap.String("user", r.Name), zap.Error(err))
			}
			return nil, grpcError(err)
		}
		prefix, err := s.auth.Users().GenTokenPrefix()
		if err != nil {
			return nil, grpcError(err)
		}
		resp, err := proposeAuth[*pb.AuthenticateResponse](ctx, s, wire.KindAuthenticate,
			&pb.InternalAuthenticateRequest{Name: r.Name, SimpleToken: prefix})
		if err != nil {
			return nil, err
		}
		if checked == s.auth.Users().Revision() {
			return resp, nil
		}
		s.opts.Logger.Info("revision when password checked became stale; retrying")
	}
}

// hash is what the log carries for a password, which is cleared.
func (s *authService) hash(password, hashed *string) error {
	h, err := bcrypt.GenerateFromPassword([]byte(*password), s.auth.Users().BcryptCost())
	if err != nil {
		return err
	}
	*hashed = base64.StdEncoding.EncodeToString(h)
	*password = ""
	return nil
}

// UserAdd adds a user.
func (s *authService) UserAdd(ctx context.Context, r *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	if !r.GetOptions().GetNoPassword() {
		if err := s.hash(&r.Password, &r.HashedPassword); err != nil {
			return nil, grpcError(err)
		}
	}
	return proposeAuth[*pb.AuthUserAddResponse](ctx, s, wire.KindAuthUserAdd, r)
}

// UserGet tells a user's roles.
func (s *authService) UserGet(ctx context.Context, r *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	return proposeAuth[*pb.AuthUserGetResponse](ctx, s, wire.KindAuthUserGet, r)
}

// UserList lists the users.
func (s *authService) UserList(ctx context.Context, r *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	return proposeAuth[*pb.AuthUserListResponse](ctx, s, wire.KindAuthUserList, r)
}

// UserDelete removes a user.
func (s *authService) UserDelete(ctx context.Context, r *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	return proposeAuth[*pb.AuthUserDeleteResponse](ctx, s, wire.KindAuthUserDelete, r)
}

// UserChangePassword gives a user another password.
func (s *authService) UserChangePassword(ctx context.Context, r *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	if r.Password != "" {
		if err := s.hash(&r.Password, &r.HashedPassword); err != nil {
			return nil, grpcError(err)
		}
	}
	return proposeAuth[*pb.AuthUserChangePasswordResponse](ctx, s, wire.KindAuthUserChangePassword, r)
}

// UserGrantRole gives a user a role.
func (s *authService) UserGrantRole(ctx context.Context, r *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	return proposeAuth[*pb.AuthUserGrantRoleResponse](ctx, s, wire.KindAuthUserGrantRole, r)
}

// UserRevokeRole takes a role from a user.
func (s *authService) UserRevokeRole(ctx context.Context, r *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	return proposeAuth[*pb.AuthUserRevokeRoleResponse](ctx, s, wire.KindAuthUserRevokeRole, r)
}

// RoleAdd adds a role.
func (s *authService) RoleAdd(ctx context.Context, r *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	return proposeAuth[*pb.AuthRoleAddResponse](ctx, s, wire.KindAuthRoleAdd, r)
}

// RoleGet tells a role's permissions.
func (s *authService) RoleGet(ctx context.Context, r *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	return proposeAuth[*pb.AuthRoleGetResponse](ctx, s, wire.KindAuthRoleGet, r)
}

// RoleList lists the roles.
func (s *authService) RoleList(ctx context.Context, r *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	return proposeAuth[*pb.AuthRoleListResponse](ctx, s, wire.KindAuthRoleList, r)
}

// RoleDelete removes a role, also from the users that have it.
func (s *authService) RoleDelete(ctx context.Context, r *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	return proposeAuth[*pb.AuthRoleDeleteResponse](ctx, s, wire.KindAuthRoleDelete, r)
}

// RoleGrantPermission permits a role a key or a range.
func (s *authService) RoleGrantPermission(ctx context.Context, r *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	return proposeAuth[*pb.AuthRoleGrantPermissionResponse](ctx, s, wire.KindAuthRoleGrantPermission, r)
}

// RoleRevokePermission takes a permission from a role.
func (s *authService) RoleRevokePermission(ctx context.Context, r *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	return proposeAuth[*pb.AuthRoleRevokePermissionResponse](ctx, s, wire.KindAuthRoleRevokePermission, r)
}
