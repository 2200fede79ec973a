// Watchstore answers tokens from a JSON file, an object whose names are paths, in protocol 2: in batches, with the
// file's digest as the version, and with a watch that tells which values have changed.
//
// The file is named by the environment variable WATCHSTORE_FILE, or by the setting `file` of a connection.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"injector.example/plugins/protocol2"
	"injector.example/plugins/protocol2/pluginv2"
)

const (
	lookEvery = 200 * time.Millisecond
	schema    = `{"type": "object", "properties": {"file": {"type": "string"}}, "additionalProperties": false}`
)

type watchStore struct {
	pluginv2.UnimplementedTokenStoreServiceServer
	mutex sync.Mutex
	files map[string]string // by connection
}

type values map[string]json.RawMessage

func (s *watchStore) Describe(context.Context, *pluginv2.DescribeRequest) (*pluginv2.DescribeResponse, error) {
	return &pluginv2.DescribeResponse{
		Prefixes:            []string{"WATCHSTORE"},
		Name:                "watchstore",
		LargestBatch:        100,
		MostInFlight:        8,
		ConfigurationSchema: schema,
		CanWatch:            true,
	}, nil
}

func (s *watchStore) Configure(_ context.Context, req *pluginv2.ConfigureRequest) (*pluginv2.ConfigureResponse, error) {
	file := ""
	for name, value := range req.GetSettings().AsMap() {
		text, isText := value.(string)
		if name != "file" || !isText {
			return &pluginv2.ConfigureResponse{Error: &pluginv2.Error{
				Kind:    pluginv2.ErrorKind_ERROR_KIND_INVALID,
				Message: "the only setting is `file`, a text",
			}}, nil
		}
		file = text
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.files[req.GetConnection()] = file
	return &pluginv2.ConfigureResponse{}, nil
}

func (s *watchStore) Resolve(
	req *pluginv2.ResolveRequest, stream grpc.ServerStreamingServer[pluginv2.ResolveResponse],
) error {
	if len(req.GetReferences()) == 0 {
		return nil
	}
	known, version, failure := s.read(req.GetConnection())
	response := &pluginv2.ResolveResponse{}
	for place, reference := range req.GetReferences() {
		answer := &pluginv2.Answer{Reference: uint32(place)}
		raw, found := known[reference.GetPath()]
		switch {
		case failure != nil:
			answer.Outcome = &pluginv2.Answer_Error{Error: failure}
		case !found:
			answer.Outcome = &pluginv2.Answer_Error{Error: &pluginv2.Error{
				Kind:    pluginv2.ErrorKind_ERROR_KIND_NOT_FOUND,
				Message: "the file has no such path",
			}}
		default:
			value := &pluginv2.Value{Data: plain(raw), Version: version}
			answer.Outcome = &pluginv2.Answer_Value{Value: value}
		}
		response.Answers = append(response.Answers, answer)
	}
	return stream.Send(response)
}

func (s *watchStore) Watch(
	req *pluginv2.WatchRequest, stream grpc.ServerStreamingServer[pluginv2.WatchResponse],
) error {
	before, _, failure := s.read(req.GetConnection())
	if failure != nil {
		return status.Error(codes.Unavailable, failure.GetMessage())
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case <-ticker.C:
		}
		after, _, failure := s.read(req.GetConnection())
		if failure != nil {
			continue // it is being written, or will come back
		}
		for place, reference := range req.GetReferences() {
			if bytes.Equal(before[reference.GetPath()], after[reference.GetPath()]) {
				continue
			}
			if err := stream.Send(&pluginv2.WatchResponse{Reference: uint32(place)}); err != nil {
				return err
			}
		}
		before = after
	}
}

// Release has nothing to do: no value has a lease.
func (s *watchStore) Release(context.Context, *pluginv2.ReleaseRequest) (*pluginv2.ReleaseResponse, error) {
	return &pluginv2.ReleaseResponse{}, nil
}

func (s *watchStore) read(connection string) (values, string, *pluginv2.Error) {
	s.mutex.Lock()
	file := s.files[connection]
	s.mutex.Unlock()
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, "", &pluginv2.Error{Kind: pluginv2.ErrorKind_ERROR_KIND_UNAVAILABLE, Message: err.Error()}
	}
	var known values
	if json.Unmarshal(content, &known) != nil {
		return nil, "", &pluginv2.Error{
			Kind: pluginv2.ErrorKind_ERROR_KIND_UNAVAILABLE, Message: file + " is not a JSON object",
		}
	}
	digest := sha256.Sum256(content)
	return known, hex.EncodeToString(digest[:6]), nil
}

// plain is a text without its quotes, and any other value as its JSON.
func plain(raw json.RawMessage) []byte {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text)
	}
	return raw
}

func main() {
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: os.Stderr, JSONFormat: true})
	store := &watchStore{files: map[string]string{"": os.Getenv("WATCHSTORE_FILE")}}
	protocol2.Serve(store, log)
}
