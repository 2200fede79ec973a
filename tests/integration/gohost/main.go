// gohost drives one token store plugin the way configmanager does, and prints what it saw as one JSON object.
//
//	gohost [flags] PLUGIN [ARGUMENT...]
//
// The messages in proto/ are generated, from the repository's root, by
//
//	python -m grpc_tools.protoc -I proto --go_out=tests/integration/gohost --go-grpc_out=tests/integration/gohost \
//	  --go_opt=module=example.test/gohost,Mtokenstore/v1/token_store.proto=example.test/gohost/proto \
//	  --go-grpc_opt=module=example.test/gohost,Mtokenstore/v1/token_store.proto=example.test/gohost/proto \
//	  tokenstore/v1/token_store.proto
//
// "{i}" in -token is replaced by the number of the call. The plugin's log goes to standard error as JSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.test/gohost/proto"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const pluginName = "configmanager_token_store"

type tokenStorePlugin struct{ plugin.Plugin }

func (tokenStorePlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (tokenStorePlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return proto.NewTokenStoreClient(c), nil
}

// call is the outcome of one call: a value, or the code and text of a status.
type call struct {
	Token   string              `json:"token"`
	Value   string              `json:"value"`
	Code    string              `json:"code"`
	Message string              `json:"message"`
	Trailer map[string][]string `json:"trailer"`
}

type report struct {
	Error       string  `json:"error"` // the start failed
	Pid         int     `json:"pid"`
	Version     int     `json:"version"`
	Network     string  `json:"network"`
	Address     string  `json:"address"`
	HandshakeMs float64 `json:"handshake_ms"`
	FirstMs     float64 `json:"first_ms"`
	Seconds     float64 `json:"seconds"` // all calls but the first
	Calls       []call  `json:"calls"`   // in the order of their numbers
	Stdout      string  `json:"stdout"`  // what the plugin printed, by GRPCStdio
	Stderr      string  `json:"stderr"`
	KillMs      float64 `json:"kill_ms"`
}

func main() {
	token := flag.String("token", "/a", "token to ask for")
	meta := flag.String("metadata", "", "its metadata")
	n := flag.Int("n", 1, "calls")
	concurrency := flag.Int("c", 1, "calls at the same time")
	timeout := flag.Duration("timeout", 20*time.Second, "deadline of each call")
	startTimeout := flag.Duration("start-timeout", 20*time.Second, "time for the handshake")
	settle := flag.Duration("settle", 0, "wait between the last call and the kill")
	mtls := flag.Bool("mtls", false, "ask for AutoMTLS")
	multiplex := flag.Bool("multiplex", false, "ask for broker multiplexing")
	versions := flag.String("versions", "1", "protocol versions to offer, comma separated")
	hold := flag.Bool("hold", false, "print the report after the calls and wait to be killed")
	flag.Parse()

	sets := map[int]plugin.PluginSet{}
	for _, text := range strings.Split(*versions, ",") {
		number, err := strconv.Atoi(text)
		if err != nil {
			panic(err)
		}
		sets[number] = plugin.PluginSet{pluginName: tokenStorePlugin{}}
	}
	var stdout, stderr bytes.Buffer
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			MagicCookieKey: "CONFIGMANAGER_PLUGIN", MagicCookieValue: "configmanager-plugin-hello",
		},
		VersionedPlugins:    sets,
		Cmd:                 exec.Command(flag.Arg(0), flag.Args()[1:]...),
		AllowedProtocols:    []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:              hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true}),
		SyncStdout:          &stdout,
		SyncStderr:          &stderr,
		AutoMTLS:            *mtls,
		GRPCBrokerMultiplex: *multiplex,
		StartTimeout:        *startTimeout,
	})
	r := report{}
	start := time.Now()
	store, err := connect(client, &r, start)
	if err != nil {
		r.Error = err.Error()
		client.Kill()
		emit(&r)
		os.Exit(1)
	}
	ask := func(i int) call {
		ctx, cancel := context.WithTimeout(context.Background(), *timeout)
		defer cancel()
		c := call{Token: strings.ReplaceAll(*token, "{i}", strconv.Itoa(i))}
		var trailer metadata.MD
		request := &proto.TokenValueRequest{Token: c.Token, Metadata: []byte(*meta)}
		response, err := store.Value(ctx, request, grpc.Trailer(&trailer))
		c.Value, c.Trailer = response.GetValue(), trailer
		s := status.Convert(err)
		c.Code, c.Message = s.Code().String(), s.Message()
		return c
	}
	r.Calls = make([]call, *n)
	r.Calls[0] = ask(0)
	r.FirstMs = ms(time.Since(start))
	begin := time.Now()
	var group sync.WaitGroup
	for w := range *concurrency {
		group.Go(func() {
			for i := 1 + w; i < *n; i += *concurrency {
				r.Calls[i] = ask(i)
			}
		})
	}
	group.Wait()
	r.Seconds = time.Since(begin).Seconds()
	if *hold {
		emit(&r)
		select {}
	}
	time.Sleep(*settle)
	begin = time.Now()
	client.Kill()
	r.KillMs = ms(time.Since(begin))
	r.Stdout, r.Stderr = stdout.String(), stderr.String()
	emit(&r)
}

func connect(client *plugin.Client, r *report, start time.Time) (proto.TokenStoreClient, error) {
	address, err := client.Start()
	if err != nil {
		return nil, err
	}
	r.HandshakeMs = ms(time.Since(start))
	r.Pid = client.ReattachConfig().Pid
	r.Network, r.Address = address.Network(), address.String()
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	r.Version = client.NegotiatedVersion()
	if err := protocol.Ping(); err != nil {
		return nil, err
	}
	raw, err := protocol.Dispense(pluginName)
	if err != nil {
		return nil, err
	}
	return raw.(proto.TokenStoreClient), nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func emit(r *report) {
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
}
