// A reactor plugin without a network: it answers from the settings of its connection.
package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"injector.example/wasm-reactor/reactor"
)

func init() { reactor.Register(&valueStore{}) }

func main() {} // a reactor has no main; Go wants one

type valueStore struct {
	Values map[string]string `json:"values"`
	asked  int
}

func (s *valueStore) Configure(settings json.RawMessage) error {
	if err := json.Unmarshal(settings, s); err != nil {
		return fmt.Errorf("the settings are no object with `values`")
	}
	return nil
}

func (s *valueStore) Value(message *reactor.Message) ([]byte, error) {
	s.asked++
	switch value, ok := s.Values[message.Token]; {
	case message.Token == "times-asked":
		return fmt.Append(nil, s.asked), nil
	case message.Token == "panic":
		panic("as asked for")
	case strings.HasPrefix(message.Token, " "):
		return nil, reactor.Invalid("a path does not begin with a blank")
	case !ok:
		return nil, reactor.NotFound("there is no value %s", message.Token)
	default:
		return []byte(value), nil
	}
}
