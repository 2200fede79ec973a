// Faultplugin is a token store for tests: the token says what goes wrong, the environment how the program behaves.
//
// Environment: FAULT_NETWORK=tcp serves by hand on loopback instead of through go-plugin, FAULT_NETWORK=proxied lets
// go-plugin serve as ever and puts a loopback port before its socket (it has TCP on Windows only); FAULT_NOISE is printed
// before the handshake; FAULT_DEAF ignores SIGTERM and goes on living after Shutdown; FAULT_CHILD starts a child
// process and names its number on standard error; FAULT_TRACE is a file to which a cancelled call is reported.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"injector.example/plugins/tokenstore"
	"injector.example/plugins/tokenstore/proto"
)

type faultStore struct{ log hclog.Logger }

func (s faultStore) Value(ctx context.Context, path, meta string) (string, error) {
	what, argument, _ := strings.Cut(path, ":")
	number, _ := strconv.Atoi(argument)
	switch what {
	case "error":
		return "", fmt.Errorf("%s", argument)
	case "code":
		return "", status.Error(codes.Code(number), "simulated, with a secret hunter2 in it")
	case "trailer": // trailer:CODE:name=value,name=value
		code, pairs, _ := strings.Cut(argument, ":")
		number, _ = strconv.Atoi(code)
		for _, pair := range strings.Split(pairs, ",") {
			name, value, _ := strings.Cut(pair, "=")
			if err := grpc.SetTrailer(ctx, metadata.Pairs(name, value)); err != nil {
				return "", err
			}
		}
		return "", status.Error(codes.Code(number), "simulated")
	case "big":
		return strings.Repeat("x", number), nil
	case "notutf8":
		return "a\xffb", nil
	case "sleep":
		return path, s.sleep(ctx, time.Duration(number)*time.Millisecond)
	case "exit":
		fmt.Fprintln(rawStderr, "last words of the plugin")
		os.Exit(number)
	case "print": // as a plugin's author would
		fmt.Println(argument)
		fmt.Fprintln(os.Stderr, argument)
	case "stderr": // past go-plugin, as it is, with a line's end
		fmt.Fprintln(rawStderr, argument)
	case "long": // a line of so many bytes
		fmt.Fprintln(rawStderr, strings.Repeat("x", number))
	case "longjson":
		fmt.Fprintf(rawStderr, "{\"@level\":\"error\",\"@message\":\"%s\"}\n", strings.Repeat("y", number))
	case "panic":
		go panic(argument) // outside of the call: no library can recover from it
		select {}
	case "stdin":
		text, err := io.ReadAll(os.Stdin)
		return fmt.Sprintf("%d bytes, %v", len(text), err), nil
	case "hclog":
		s.log.Log(hclog.LevelFromString(argument), "at level "+argument)
	case "crashonce": // the environment names a file that tells that it has happened
		if _, err := os.Stat(os.Getenv("FAULT_TRACE")); err != nil {
			_ = os.WriteFile(os.Getenv("FAULT_TRACE"), nil, 0o600)
			os.Exit(number)
		}
	case "flood": // both raw descriptors, for ever, and what go-plugin sends as GRPCStdio
		go flood(os.NewFile(1, "stdout"))
		go flood(rawStderr)
		go flood(os.Stdout)
		go flood(os.Stderr)
	case "log":
		s.log.Warn("hello from the plugin", "path", path, "number", 3)
	case "env":
		return environment()
	}
	return path + "->" + meta, nil
}

// Before go-plugin replaces os.Stderr.
var rawStderr = os.Stderr

func (s faultStore) sleep(ctx context.Context, duration time.Duration) error {
	select {
	case <-time.After(duration):
		return nil
	case <-ctx.Done():
		if trace := os.Getenv("FAULT_TRACE"); trace != "" {
			_ = os.WriteFile(trace, []byte(ctx.Err().Error()), 0o600)
		}
		return ctx.Err()
	}
}

func flood(file *os.File) {
	line := []byte(strings.Repeat("noise ", 100) + "\n")
	for {
		if _, err := file.Write(line); err != nil {
			return
		}
	}
}

func environment() (string, error) {
	variables := map[string]string{}
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		variables[name] = value
	}
	text, err := json.Marshal(variables)
	return string(text), err
}

func main() {
	fmt.Print(os.Getenv("FAULT_NOISE"))
	if os.Getenv("FAULT_DEAF") != "" {
		signal.Ignore(syscall.SIGTERM)
	}
	if os.Getenv("FAULT_CHILD") != "" {
		child := exec.Command("sleep", "1000")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			panic(err)
		}
		fmt.Fprintf(os.Stderr, "child %d\n", child.Process.Pid)
	}
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	store := faultStore{log: log}
	switch os.Getenv("FAULT_NETWORK") {
	case "tcp":
		serveTCP(store)
	case "proxied":
		proxyTCP()
		tokenstore.Serve(store, log)
	default:
		tokenstore.Serve(store, log)
	}
	for os.Getenv("FAULT_DEAF") != "" {
		time.Sleep(time.Hour) // not select {}: without other goroutines Go ends that as a deadlock
	}
}

// proxyTCP takes the handshake that go-plugin prints, and prints it with a loopback port instead of the socket.
func proxyTCP() {
	real := os.Stdout
	reader, writer, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	os.Stdout = writer
	go func() {
		line, err := bufio.NewReader(reader).ReadString('\n')
		if err != nil {
			panic(err)
		}
		fields := strings.Split(line, "|")
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		socket := fields[3]
		fields[2], fields[3] = "tcp", listener.Addr().String()
		fmt.Fprint(real, strings.Join(fields, "|"))
		for {
			outer, err := listener.Accept()
			if err != nil {
				return
			}
			inner, err := net.Dial("unix", socket)
			if err != nil {
				outer.Close()
				continue
			}
			go carry(outer, inner)
			go carry(inner, outer)
		}
	}()
}

func carry(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
}

// serveTCP does by hand what go-plugin does on systems without unix sockets.
func serveTCP(store faultStore) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer()
	healthServer := health.NewServer()
	healthServer.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, healthServer)
	proto.RegisterTokenStoreServer(server, byHand{store: store})
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "plugin.GRPCController",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Shutdown", Handler: func(
			any, context.Context, func(any) error, grpc.UnaryServerInterceptor,
		) (any, error) {
			go server.Stop()
			return &emptypb.Empty{}, nil
		}}},
	}, struct{}{})
	fmt.Printf("1|1|tcp|%s|grpc\n", listener.Addr())
	if err := server.Serve(listener); err != nil {
		panic(err)
	}
}

type byHand struct {
	proto.UnimplementedTokenStoreServer
	store faultStore
}

func (b byHand) Value(ctx context.Context, r *proto.TokenValueRequest) (*proto.TokenValueResponse, error) {
	value, err := b.store.Value(ctx, r.GetToken(), string(r.GetMetadata()))
	if err != nil {
		return nil, err
	}
	return &proto.TokenValueResponse{Value: value}, nil
}
