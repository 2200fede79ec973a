package main

import (
	"encoding/json"

	pdk "github.com/extism/go-pdk"
)

// The kit's own request has no time-out and no rate. injector's host has both; other hosts of Extism ignore them.
type request struct {
	URL       string            `json:"url"`
	Method    string            `json:"method"`
	Headers   map[string]string `json:"headers"`
	TimeoutMS int64             `json:"timeout_ms,omitempty"` // of this request, beside the call's own time
	RateLimit float64           `json:"rate_limit,omitempty"` // a second, of all instances of the connection together
}

//go:wasmimport extism:host/env http_request
func httpRequest(meta, body uint64) uint64

//go:wasmimport extism:host/env http_status_code
func httpStatusCode() int32

//go:wasmimport extism:host/env http_headers
func httpHeaders() uint64

// send has the host make the request. One that fails, or is not allowed, ends the call: there is nothing to return.
func (r request) send() (status int, headers map[string]string, body []byte) {
	meta, err := pdk.AllocateJSON(r)
	if err != nil {
		panic(err) // texts and numbers, which JSON can hold
	}
	defer meta.Free()
	answer := httpRequest(meta.Offset(), 0)
	if at := httpHeaders(); at != 0 {
		found := pdk.FindMemory(at)
		_ = json.Unmarshal(found.ReadBytes(), &headers) // an object of texts: the host made it
		found.Free()
	}
	if answer != 0 {
		found := pdk.FindMemory(answer)
		body = found.ReadBytes()
		found.Free()
	}
	return int(httpStatusCode()), headers, body
}
