// Package tokenstore serves a store of values as a plugin of injector and of configmanager (protocol 1).
package tokenstore

import (
	"context"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"injector.example/plugins/tokenstore/proto"
)

// Handshake is what host and plugin have to agree on. The cookie keeps people from starting a plugin by hand.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "CONFIGMANAGER_PLUGIN",
	MagicCookieValue: "configmanager-plugin-hello",
}

// PluginName is the name under which the host asks for the store.
const PluginName = "configmanager_token_store"

// Store answers for one prefix. Value is called by many goroutines at a time.
//
// path is the token's text between separator and keys; metadata is the raw text between the brackets, empty when
// there is none. Return errors made with google.golang.org/grpc/status: codes.NotFound, codes.PermissionDenied,
// codes.Unauthenticated, codes.ResourceExhausted (throttled), codes.InvalidArgument and codes.Unavailable are told
// apart by the host. The text of an error must not hold a value.
type Store interface {
	Value(ctx context.Context, path, metadata string) (string, error)
}

// Serve answers the host until it says that it is done. What is written to log appears in the host's log.
func Serve(store Store, log hclog.Logger) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: Handshake,
		Plugins:         plugin.PluginSet{PluginName: &grpcPlugin{store: store}},
		GRPCServer:      plugin.DefaultGRPCServer,
		Logger:          log,
	})
}

type grpcPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	store Store
}

func (p *grpcPlugin) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	proto.RegisterTokenStoreServer(server, &tokenStoreServer{store: p.store})
	return nil
}

func (p *grpcPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return proto.NewTokenStoreClient(conn), nil
}

type tokenStoreServer struct {
	proto.UnimplementedTokenStoreServer
	store Store
}

func (s *tokenStoreServer) Value(ctx context.Context, req *proto.TokenValueRequest) (*proto.TokenValueResponse, error) {
	value, err := s.store.Value(ctx, req.GetToken(), string(req.GetMetadata()))
	if err != nil {
		return nil, err
	}
	return &proto.TokenValueResponse{Value: value}, nil
}
