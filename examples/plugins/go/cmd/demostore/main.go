// Demostore answers tokens from a JSON file: an object whose names are paths.
//
// The file is named by the environment variable DEMOSTORE_FILE and read at every call, so that a change is seen at
// once. A value that is not a string is answered as its JSON text. Without the variable every path has a value.
package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"injector.example/plugins/tokenstore"
)

type demoStore struct {
	file string
	log  hclog.Logger
}

func (s demoStore) Value(_ context.Context, path, metadata string) (string, error) {
	s.log.Debug("asked for a value", "path", path, "metadata", metadata)
	if s.file == "" {
		return "demo value of " + path, nil
	}
	values, err := s.read()
	if err != nil {
		return "", err
	}
	raw, found := values[path]
	if !found {
		return "", status.Errorf(codes.NotFound, "%s has no %q", s.file, path)
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	return string(raw), nil
}

func (s demoStore) read() (map[string]json.RawMessage, error) {
	content, err := os.ReadFile(s.file)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	var values map[string]json.RawMessage
	if json.Unmarshal(content, &values) != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is not a JSON object", s.file)
	}
	return values, nil
}

func main() {
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	tokenstore.Serve(demoStore{file: os.Getenv("DEMOSTORE_FILE"), log: log}, log)
}
