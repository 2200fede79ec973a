// Package reactor is the guest's side of injector's reactor plugins: register a Store, and build with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o demo.wasm .
//
// The functions that it exports are those of configmanager's WASM plugins, and any host of those can call them. Beyond
// that protocol:
//
//   - a panic of the store is status -4 with its text, and no empty value;
//   - memory grows with what the host asks for, and is given back;
//   - a value too large for the host's buffer is kept, so that the second call asks the store no second time;
//   - plugin_configure takes settings and credentials, last_error tells what is behind a status.
//
// Every batch of calls has a fresh instance, configured before: what a store keeps in variables lasts that long.
package reactor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
	"unsafe"
)

const (
	statusOK              int32 = 0
	statusBufferTooSmall  int32 = -1
	statusInvalidUTF8     int32 = -2
	statusEmptyInput      int32 = -3
	statusInternal        int32 = -4
	statusInvalidMessage  int32 = -5
	statusStoreFailed     int32 = -6
	statusRetrievalFailed int32 = -7
)

// Message is what is asked for: the token's path, and what stands between its brackets.
type Message struct {
	Token    string            `json:"token"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Version  string            `json:"version"`
}

// Store answers for the tokens of one prefix.
type Store interface {
	// Value gives a value, never empty, or an error: one made by NotFound and its like, or any other, which counts
	// as unavailable. The text of an error is shown to people: it holds no value and no credential.
	Value(message *Message) ([]byte, error)
}

// Configurer is a Store that takes settings and credentials: a JSON object, the connection's.
type Configurer interface {
	Configure(settings json.RawMessage) error
}

// Register makes store the one of this plugin. Call it in an init function.
func Register(store Store) { registered = store }

type failure struct {
	kind  string
	text  string
	after time.Duration
}

func (f *failure) Error() string { return f.text }

// NotFound says that the store has no such value.
func NotFound(format string, arguments ...any) error { return fail("not_found", format, arguments) }

// Denied says that the store knows the plugin's identity, and refuses it this value.
func Denied(format string, arguments ...any) error { return fail("denied", format, arguments) }

// Credentials says that the plugin's credentials are missing, wrong or expired.
func Credentials(format string, arguments ...any) error {
	return fail("credentials", format, arguments)
}

// Invalid says that path or metadata make no sense to the store.
func Invalid(format string, arguments ...any) error { return fail("invalid", format, arguments) }

// Unavailable says that nothing is known about the value; the host asks again.
func Unavailable(format string, arguments ...any) error {
	return fail("unavailable", format, arguments)
}

// Throttled says that the store wants to be asked again later, after the pause when it is above zero.
func Throttled(after time.Duration, format string, arguments ...any) error {
	return &failure{kind: "throttled", text: fmt.Sprintf(format, arguments...), after: after}
}

func fail(kind, format string, arguments []any) error {
	return &failure{kind: kind, text: fmt.Sprintf(format, arguments...)}
}

var (
	registered Store
	lastError  string
	// What the host holds pointers to: the collector must not take it, and may not move it in Go's wasm.
	held = map[uint32][]byte{}
	// The answer that was too large for the host's buffer, and the message that it belongs to.
	kept struct {
		message string
		answer  []byte
	}
)

//go:wasmexport allocate
func allocate(size uint32) uint32 {
	if size == 0 {
		return 0
	}
	room := make([]byte, size)
	pointer := uint32(uintptr(unsafe.Pointer(unsafe.SliceData(room))))
	held[pointer] = room
	return pointer
}

//go:wasmexport deallocate
func deallocate(pointer, _ uint32) { delete(held, pointer) }

//go:wasmexport strategy_token_value
func strategyTokenValue(inPtr, inLen, outPtr, outCap, outLenPtr uint32) (status int32) {
	defer recovered(&status)
	lastError = ""
	setLength(outLenPtr, 0)
	input := string(memory(inPtr, inLen))
	if input == "" {
		return failed(statusEmptyInput, errors.New("the message is empty"))
	}
	if !utf8.ValidString(input) {
		return failed(statusInvalidUTF8, errors.New("the message is not UTF-8"))
	}
	answer := kept.answer
	if kept.message != input {
		message := &Message{}
		if err := json.Unmarshal([]byte(input), message); err != nil {
			return failed(statusInvalidMessage, err)
		}
		if registered == nil {
			return failed(statusStoreFailed, errors.New("no store is registered"))
		}
		var err error
		if answer, err = registered.Value(message); err != nil {
			return failed(statusRetrievalFailed, err)
		}
	}
	kept.message, kept.answer = "", nil
	setLength(outLenPtr, uint32(len(answer)))
	if uint32(len(answer)) > outCap {
		kept.message, kept.answer = input, answer
		return statusBufferTooSmall
	}
	copy(memory(outPtr, outCap), answer)
	return statusOK
}

//go:wasmexport plugin_configure
func pluginConfigure(pointer, length uint32) (status int32) {
	defer recovered(&status)
	lastError = ""
	store, ok := registered.(Configurer)
	if !ok {
		if string(memory(pointer, length)) == "{}" {
			return statusOK
		}
		return failed(statusStoreFailed, errors.New("this plugin takes no settings"))
	}
	settings := append(json.RawMessage(nil), memory(pointer, length)...)
	if err := store.Configure(settings); err != nil {
		return failed(statusStoreFailed, err)
	}
	return statusOK
}

// last_error copies as much of the text as fits, and gives its whole length.
//
//go:wasmexport last_error
func lastErrorText(pointer, capacity uint32) int32 {
	copy(memory(pointer, capacity), lastError)
	return int32(len(lastError))
}

func failed(status int32, err error) int32 {
	lastError = err.Error()
	var known *failure
	if errors.As(err, &known) {
		pause := ""
		if known.after > 0 {
			pause = fmt.Sprintf(" %.3f", known.after.Seconds())
		}
		lastError = known.kind + pause + ": " + err.Error()
	}
	return status
}

func recovered(status *int32) {
	if problem := recover(); problem != nil {
		lastError = fmt.Sprintf("panic: %v", problem)
		*status = statusInternal
	}
}

func setLength(pointer, length uint32) {
	if cell := memory(pointer, 4); cell != nil {
		binary.LittleEndian.PutUint32(cell, length)
	}
}

// memory is the bytes at pointer: the host's view of them, no copy.
func memory(pointer, length uint32) []byte {
	if pointer == 0 || length == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(pointer))), length)
}
