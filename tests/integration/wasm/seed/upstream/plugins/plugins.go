// Package plugins has what main.go imports of configmanager: the codes that guest and host share, and the message.
package plugins

const (
	OK                           int32 = 0
	ERR_BUF_TOO_SMALL            int32 = -1
	ERR_INVALID_UTF8             int32 = -2
	ERR_EMPTY_INPUT              int32 = -3
	ERR_INTERNAL                 int32 = -4
	ERR_FAILED_UNMARSHAL_MESSAGE int32 = -5
	ERR_INIT_STORE               int32 = -6
	ERR_FAILED_VALUE_RETRIEVAL   int32 = -7
)

// MessagExchange is the JSON message; the name is upstream's.
type MessagExchange struct {
	Token    string         `json:"token"`
	Metadata map[string]any `json:"metadata,omitempty"`
	Version  string         `json:"version"`
}
