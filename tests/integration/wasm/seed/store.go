package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/DevLabFoundry/configmanager/v3/plugins"
)

// ParamStore is the strategy behind main.go, which is complete but for it: it does what the token says.
type ParamStore struct{}

// NewParamStore is what main.go calls.
func NewParamStore(_ context.Context) (*ParamStore, error) {
	if initFails {
		return nil, errors.New("no store")
	}
	return &ParamStore{}, nil
}

var (
	calls     int
	initFails bool
)

// Value gives the message back, unless its token asks for something else.
func (s *ParamStore) Value(token *plugins.MessagExchange) (string, error) {
	calls++
	verb, argument, _ := strings.Cut(token.Token, ":")
	number, _ := strconv.Atoi(argument)
	switch verb {
	case "fail":
		return "", errors.New("no such parameter")
	case "fail-next-init":
		initFails = true
	case "panic":
		panic("the strategy panicked")
	case "nil":
		var missing *plugins.MessagExchange
		return missing.Token, nil
	case "panic-elsewhere": // where no recover of the caller reaches
		done := make(chan struct{})
		go func() { defer close(done); panic("a goroutine panicked") }()
		<-done
	case "exit":
		os.Exit(number)
	case "loop":
		for i := 0; ; i++ {
			calls = i
		}
	case "sleep":
		time.Sleep(time.Duration(number) * time.Millisecond)
	case "deadlock":
		select {}
	case "grow": // MiB
		room := make([]byte, number<<20)
		for i := 0; i < len(room); i += 4096 {
			room[i] = 1
		}
		return strconv.Itoa(len(room)), nil
	case "recurse":
		return strconv.Itoa(deeper(number)), nil
	case "big":
		return strings.Repeat("x", number), nil
	case "empty":
		return "", nil
	case "print":
		fmt.Println("to stdout", argument)
		fmt.Fprintln(os.Stderr, "to stderr", argument)
	case "calls":
		return strconv.Itoa(calls), nil
	case "environment":
		return fmt.Sprint(len(os.Environ())), nil
	case "read":
		_, err := os.ReadFile(argument)
		return fmt.Sprint(err), nil
	case "write":
		return fmt.Sprint(os.WriteFile(argument, []byte("x"), 0o600)), nil
	case "dial":
		_, err := net.DialTimeout("tcp", argument, time.Second)
		return fmt.Sprint(err), nil
	}
	answer, err := json.Marshal(token)
	return string(answer), err
}

func deeper(depth int) int {
	var room [64]int
	room[depth%64] = depth
	if depth == 0 {
		return 0
	}
	return deeper(depth-1) + room[depth%64] - depth + 1
}
