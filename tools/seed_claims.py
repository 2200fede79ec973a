"""The sentences of the two documents that this project began with, by document and line; see `tools.seed_rows`."""

from __future__ import annotations

from typing import NamedTuple


class Claim(NamedTuple):
    """
    What a document says (short; " … " for what was left out), and what there is to say about it here.

    With `is_reason`, `here` tells why no test proves it: it is nobody's promise, or it is measured instead.
    """

    says: str
    here: str = ""
    is_reason: bool = False


def _not(says: str, here: str) -> Claim:
    return Claim(says, here, is_reason=True)


_GUEST = "the plugin's own business: the host runs the source as it stands, and takes nothing for granted"
_MEASURED = "measured, not promised: [docs/wasm-plugins.md](wasm-plugins.md#what-it-costs)"
_BY_CONTENT = (
    "departed from: a compiled module holds no state, so it is kept by its content, and once for all connections; "
    "`pluginID:conn-{connectionID}` is the key of the configuration, the grants and the log"
)

CLAIMS: dict[str, Claim] = {
    "000:5": Claim("WASM/Extism plugins don't persist state between function calls."),
    "000:5b": Claim("Each time you get a plugin instance, it starts with a fresh memory state."),
    "000:7": Claim("Setting credentials in one call doesn't persist to the next call"),
    "000:8": Claim("Plugin global variables reset between instances"),
    "000:9": Claim("You can't rely on plugin-side state management"),
    "000:15": Claim("two-level caching strategy", "compiled modules are kept, configurations are given anew"),
    "000:18": Claim("The WASM binary is compiled once and cached", "also on the disk, for the next process"),
    "000:19": Claim("Reused across multiple instances"),
    "000:20": Claim("Cache key: pluginID:conn-{connectionID}", _BY_CONTENT),
    "000:21": Claim("This saves compilation time but NOT runtime state"),
    "000:26": Claim("Get instance (may be from compiled cache)"),
    "000:29": Claim("MUST configure credentials on EVERY instance"),
    "000:30": Claim("Because instance memory state is fresh each time"),
    "000:31": Claim("err = p.configurePlugin(instance)", "its failure ends the call, and is an error of its own"),
    "000:39": Claim("The plugin uses global variables that get set on each configuration"),
    "000:47": Claim("//go:wasmexport plugin_configure"),
    "000:49": Claim("This gets called on EVERY instance creation"),
    "000:50": Claim("config := parseInput()", "the input is the connection as one JSON object"),
    "000:52": Claim("Set credentials on the global client"),
    "000:55": Claim("return 0", "anything else, or a text, is a failure"),
    "000:62": Claim("Only handles API keys", "said of `set_credentials`, which is refused"),
    "000:63": Claim("Limited to authentication", "likewise"),
    "000:64": Claim("Doesn't support other configuration", "likewise"),
    "000:67": Claim("Flexible configuration object", "any JSON: numbers, lists and objects arrive as they are"),
    "000:68": Claim("Can handle credentials + settings"),
    "000:69": Claim(
        "Supports different plugin types (data sources, indicators, strategies)",
        "the host knows no types: values for tokens, and any function that a module exports",
    ),
    "000:70": Claim("Future-proof for additional config options", "names that the host does not know are passed on"),
    "000:75": Claim('"api_key": "..."'),
    "000:76": Claim('"api_secret": "..."'),
    "000:77": Claim('"base_url": "https://api.woox.io"', "reached only when the connection grants the host as well"),
    "000:78": Claim('"timeout_ms": "5000"'),
    "000:79": Claim('"rate_limit": "10"'),
    "000:87": _not(
        "User … Web UI … Terminal … Database",
        "by `injector connection`, whose tests are under line 89; `injector ui` is the page for it",
    ),
    "000:89": Claim("Credentials stored in DB (encrypted)"),
    "000:90": Claim("Connection has unique ID", "it is never used again, either"),
    "000:94": Claim('GetPluginInstance(pluginID, "pluginID:conn-123")', "the connection is picked by its name"),
    "000:96": Claim("Fresh WASM instance created"),
    "000:98": Claim("plugin_configure(credentials) called"),
    "000:100": Claim("Plugin's wooxClient.SetCredentials(...)"),
    "000:102": Claim("Plugin ready for API calls"),
    "000:104": Claim("list_markets() … Uses configured client"),
    "000:109": Claim("1. newInstance() # Fresh memory state"),
    "000:110": Claim("2. plugin_configure() # Set credentials"),
    "000:111": Claim("3. list_markets() # Use configured client"),
    "000:112": Claim("4. instance.Close() # Memory released"),
    "000:114": Claim("5. newInstance() # Fresh memory state AGAIN"),
    "000:115": Claim("6. plugin_configure() # MUST reconfigure"),
    "000:116": Claim("7. get_ohlcv() # Use configured client"),
    "000:117": Claim("8. instance.Close()"),
    "000:123": Claim("WASM compilation is cached (expensive operation)"),
    "000:124": Claim(
        "Network requests use host functions (no WASM overhead)", "and there is no other way to the network"
    ),
    "000:125": Claim("Same connection reuses compiled plugin via cacheKey", _BY_CONTENT),
    "000:128": Claim("Configuration call on every instance (cheap JSON marshal/unmarshal)"),
    "000:129": _not("Plugin state recreation (in-memory, very fast)", _MEASURED),
    "000:132": Claim("Stateless design = no memory leaks"),
    "000:133": Claim("Clean instances = no state corruption", "an instance that failed is not used again"),
    "000:134": _not("Configuration overhead is negligible (~1ms)", _MEASURED),
    "000:135": _not("Compilation caching saves 100-500ms per instance", f"{_MEASURED}; of a plugin in Go, more"),
    "000:141": Claim("Accept configuration in plugin_configure", "a module without it is refused"),
    "000:151": Claim("Store state in global variables", "they last for one batch"),
    "000:159": Claim("Don't expect state to persist between calls"),
    "000:160": Claim("Each export function gets a configured environment"),
    "000:161": Claim("But don't rely on state from previous exports"),
    "000:165": Claim("Always configure after getting instance"),
    "000:168": Claim("configurePlugin(instance) // REQUIRED", "nothing but a configured instance can be had"),
    "000:171": Claim("Use connection-specific cache keys", "of configurations; see line 20"),
    "000:173": Claim(
        'cacheKey := fmt.Sprintf("%s:conn-%d", pluginID, connectionID)', "an ID is 32 hexadecimal digits, no number"
    ),
    "000:176": Claim("Close instances when done", "whatever way it ended"),
    "000:183": Claim("Old Plugin (set_credentials)", "refused, with the reason and the remedy"),
    "000:191": Claim("New Plugin (plugin_configure)"),
    "000:195": Claim("Handles full configuration"),
    "000:199": Claim("NO BACKWARDS COMPATIBILITY"),
    "000:199b": Claim("all plugins must use plugin_configure", "of reactors only those that are given settings"),
    "000:203": Claim("Since WASM instances don't persist state, we embrace stateless design"),
    "000:204": Claim("Configure on every instance creation"),
    "000:205": Claim("Use global variables for runtime state"),
    "000:206": Claim("Cache compiled plugins, not instances"),
    "000:207": _not("Keep configuration lightweight", "advice to authors of plugins; its size is theirs"),
    "000:209": Claim("clean, predictable behavior"),
    "002:3": Claim("The plugin architecture for configmanager is built using the go-plugin"),
    "002:6": Claim("The existing implementations are converted into plugins using the gRPC model"),
    "002:7": Claim(
        "generated/updated with the buf cli", "linted by buf; generated by grpcio-tools from the same source"
    ),
    "002:16": Claim("The plugins will need to be downloaded", "`injector plugin install`; a render never downloads"),
    "002:16b": Claim(
        "any one of these locations on disk, they will be checked in this order",
        "`$CONFIGMANAGER_DIR` goes first, and the places of the machine and of installed packages come last",
    ),
    "002:18": Claim("currentDirectory (directory from which the configmanager executable is run)"),
    "002:19": Claim("users home directory"),
    "002:22": Claim(".configmanager/plugins/$PLUGIN_PREFIX_LOWERCASE/$PLUGIN_PREFIX_LOWERCASE-$GOOS-$GOARCH"),
    "002:24": Claim(
        "in case of the AWS Parameter Store plugin .configmanager/plugins/awsparamstr/awsparamstr-linux-amd64"
    ),
    "002:30": Claim("we also explored an alternate architecture using WASIP1", "here it is no alternative: both work"),
    "002:50": Claim("heapSize = 64 * 1024 // 64 KiB arena", "what does not fit is an error that says so"),
    "002:62": _not("round allocation up to 8 bytes for basic alignment.", _GUEST),
    "002:68": Claim("//go:wasmexport allocate"),
    "002:79": Claim("Out of memory in our arena.", "allocate gives 0, which is an error and no pointer"),
    "002:86": Claim("Return pointer into linear memory", "held against the guest's memory before anything is written"),
    "002:90": Claim("//go:wasmexport deallocate", "called for what the host has done with, if it is there"),
    "002:92": Claim("For a simple bump allocator, deallocate is a no-op."),
    "002:93": Claim("Memory is reclaimed when the module instance is destroyed."),
    "002:108": _not("reinterprets a (ptr,len) pair in wasm linear memory", _GUEST),
    "002:130": Claim("strategy_token_value("),
    "002:131": Claim("inPtr, inLen, outPtr, outCap, outLenPtr uint32,", "a module with other types is refused"),
    "002:132": Claim(") int32", "0 to -7, each an error of its own; any other number is one, too"),
    "002:135": Claim("Input bytes are at (inPtr, inLen)"),
    "002:136": Claim("Output buffer is [outPtr : outPtr+outCap)"),
    "002:137": Claim("outLenPtr points to 4 bytes where we write the required length"),
    "002:140": Claim("If input length == 0 => ERR_EMPTY_INPUT"),
    "002:141": Claim("If invalid UTF-8 => ERR_INVALID_UTF8"),
    "002:142": Claim(
        "Always write required length to *outLenPtr (little-endian)",
        "its source does not with -5, -6 and -7, and so the host reads it with 0 and -1 only",
    ),
    "002:143": Claim("If required > outCap => ERR_BUF_TOO_SMALL", "the host calls again, three times at most"),
    "002:144": Claim("Else copy into caller buffer and return OK"),
    "002:149": Claim(
        "Make sure panics don't leak as traps.",
        "its source makes an empty value of a panic; the host takes an empty value for an error",
    ),
    "002:160": Claim("Mark required length as 0 and signal error."),
    "002:180": Claim("unmarshal string into an object", "the message of the upstream host, byte for byte"),
    "002:183": Claim("return plugins.ERR_FAILED_UNMARSHAL_MESSAGE"),
    "002:191": Claim("return plugins.ERR_INIT_STORE"),
    "002:196": Claim("return plugins.ERR_FAILED_VALUE_RETRIEVAL"),
    "002:205": Claim("Always write required length."),
    "002:209": Claim("return plugins.ERR_INTERNAL"),
    "002:215": Claim("return plugins.ERR_BUF_TOO_SMALL"),
    "002:219": Claim("return plugins.OK", "here of an empty value, which is an error unless the token may be empty"),
    "002:231": Claim("main is required for wasip1"),
    "002:232": Claim("scaffolds the `_initialize` method", "which the host calls first"),
    "002:238": Claim("which will convert the module to a reactor module", "a command, built without it, is refused"),
    "002:240": Claim("GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o awsparams.wasm"),
}
