// Package hosthttp sends HTTP requests by the host, since WASI preview 1 has no network: the imports of host:http/v1.
//
// The host decides which hosts may be asked, checks certificates, and signs where the connection grants it, so that
// the plugin holds no credential. net/http is left out on purpose: it would make the module three times as large.
package hosthttp

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"unsafe"
)

//go:wasmimport host:http/v1 request
func hostRequest(frame unsafe.Pointer, length uint32, responseLength *uint32) int32

//go:wasmimport host:http/v1 read
func hostRead(handle int32, buffer unsafe.Pointer, capacity uint32) int32

// Request is one HTTP request. Sign asks for a signature by the host, such as {"kind": "aws-sigv4", "service": "ssm",
// "region": "eu-west-1"}; nil takes what the connection grants.
type Request struct {
	Method  string
	URL     string
	Headers map[string]string
	Sign    map[string]string
	Body    []byte
}

// Response is what came back, whatever its status.
type Response struct {
	Status  int
	Headers map[string][]string
	Body    []byte
}

// Header is the first value of a header, whose name is found in any case; empty when there is none.
func (r *Response) Header(name string) string {
	for each, values := range r.Headers {
		if strings.EqualFold(each, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

type requestHead struct {
	Method  string              `json:"method"`
	URL     string              `json:"url"`
	Headers map[string][]string `json:"headers,omitempty"`
	Sign    map[string]string   `json:"sign,omitempty"`
}

type responseHead struct {
	Status  int                 `json:"status"`
	Headers map[string][]string `json:"headers"`
	Error   string              `json:"error"`
}

// Send gives the response, or an error with the host's reason why there is none.
func Send(request Request) (*Response, error) {
	headers := make(map[string][]string, len(request.Headers))
	for name, value := range request.Headers {
		headers[name] = []string{value}
	}
	head, err := json.Marshal(requestHead{request.Method, request.URL, headers, request.Sign})
	if err != nil {
		return nil, err
	}
	frame := binary.LittleEndian.AppendUint32(nil, uint32(len(head)))
	frame = append(append(frame, head...), request.Body...)
	var length uint32
	handle := hostRequest(unsafe.Pointer(unsafe.SliceData(frame)), uint32(len(frame)), &length)
	runtime.KeepAlive(frame)
	if handle <= 0 || length < 4 {
		return nil, fmt.Errorf("the host takes no request: code %d", handle)
	}
	answer := make([]byte, length)
	if got := hostRead(handle, unsafe.Pointer(unsafe.SliceData(answer)), length); got != int32(length) {
		return nil, fmt.Errorf("the host gives no response: code %d", got)
	}
	return parse(answer)
}

func parse(frame []byte) (*Response, error) {
	size := uint64(binary.LittleEndian.Uint32(frame))
	if size+4 > uint64(len(frame)) {
		return nil, fmt.Errorf("the host's response is cut off")
	}
	var head responseHead
	if err := json.Unmarshal(frame[4:4+size], &head); err != nil {
		return nil, fmt.Errorf("the host's response is not understood")
	}
	if head.Error != "" {
		return nil, fmt.Errorf("%s", head.Error)
	}
	return &Response{head.Status, head.Headers, frame[4+size:]}, nil
}
