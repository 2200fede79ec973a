// Package protocol2 serves a store as a plugin of injector in protocol 2, and in protocol 1 under hosts that know no other.
package protocol2

import (
	"context"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"injector.example/plugins/protocol2/pluginv2"
	"injector.example/plugins/tokenstore"
	"injector.example/plugins/tokenstore/proto"
)

// Store is what a plugin writes: the service of protocol 2, without a transport. Embed
// pluginv2.UnimplementedTokenStoreServiceServer for the calls that it does not have.
type Store = pluginv2.TokenStoreServiceServer

// Serve answers the host until it says that it is done. What is written to log appears in the host's log.
func Serve(store Store, log hclog.Logger) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: tokenstore.Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{
			1: {tokenstore.PluginName: &served{register: func(server *grpc.Server) {
				proto.RegisterTokenStoreServer(server, &oneByOne{store: store})
			}}},
			2: {tokenstore.PluginName: &served{register: func(server *grpc.Server) {
				pluginv2.RegisterTokenStoreServiceServer(server, store)
			}}},
		},
		GRPCServer: plugin.DefaultGRPCServer,
		Logger:     log,
	})
}

type served struct {
	plugin.NetRPCUnsupportedPlugin
	register func(*grpc.Server)
}

func (p *served) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	p.register(server)
	return nil
}

func (p *served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, status.Error(codes.Unimplemented, "this is a plugin, not a host")
}

// oneByOne is protocol 1: a batch of one reference, whose answer becomes a text or a status.
type oneByOne struct {
	proto.UnimplementedTokenStoreServer
	store Store
}

func (s *oneByOne) Value(ctx context.Context, req *proto.TokenValueRequest) (*proto.TokenValueResponse, error) {
	answers := &collected{ctx: ctx}
	reference := &pluginv2.Reference{Path: req.GetToken(), Metadata: string(req.GetMetadata())}
	err := s.store.Resolve(&pluginv2.ResolveRequest{References: []*pluginv2.Reference{reference}}, answers)
	if err != nil {
		return nil, err
	}
	if answers.answer == nil {
		return nil, status.Error(codes.Internal, "the store gave no answer")
	}
	if failure := answers.answer.GetError(); failure != nil {
		return nil, status.Error(codeOf(failure.GetKind()), failure.GetMessage())
	}
	return &proto.TokenValueResponse{Value: string(answers.answer.GetValue().GetData())}, nil
}

// collected takes the answers of Resolve in place of a connection.
type collected struct {
	grpc.ServerStream
	ctx    context.Context
	answer *pluginv2.Answer
}

func (c *collected) Context() context.Context { return c.ctx }

func (c *collected) Send(response *pluginv2.ResolveResponse) error {
	for _, answer := range response.GetAnswers() {
		c.answer = answer
	}
	return nil
}

func codeOf(kind pluginv2.ErrorKind) codes.Code {
	switch kind {
	case pluginv2.ErrorKind_ERROR_KIND_NOT_FOUND:
		return codes.NotFound
	case pluginv2.ErrorKind_ERROR_KIND_DENIED:
		return codes.PermissionDenied
	case pluginv2.ErrorKind_ERROR_KIND_CREDENTIALS:
		return codes.Unauthenticated
	case pluginv2.ErrorKind_ERROR_KIND_INVALID:
		return codes.InvalidArgument
	case pluginv2.ErrorKind_ERROR_KIND_THROTTLED:
		return codes.ResourceExhausted
	case pluginv2.ErrorKind_ERROR_KIND_TIMEOUT:
		return codes.DeadlineExceeded
	default:
		return codes.Unavailable
	}
}
