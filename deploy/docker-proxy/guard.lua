-- What clara-sandbox may ask of the engine, and nothing else. The rules follow plugins/docker: engine.cc has the calls,
-- container_spec.cc and agent_volume.cc the bodies. Every name in a body that is not listed here is refused, so that
-- what Docker adds one day is refused too.
--
-- It keeps whoever took over the service from becoming root: no privileges, devices, host folders or host namespaces,
-- no other containers' processes, files or volumes. What it leaves is in docs/deploy.md.
local json = require("strict_json")

local NETWORK = os.getenv("DOCKER_SANDBOX_NETWORK") or "" -- a network that the operator made
local RUNTIME = os.getenv("DOCKER_PROXY_RUNTIME") or ""   -- gVisor, as docker.runtime names it
local DATA_DIR = os.getenv("DOCKER_PROXY_DATA_DIR") or "" -- workspaces as folders of this machine
local ENGINE = "unix:/var/run/docker.sock"
local MOST = 512 * 1024 -- bytes of a body that is looked into

-- Checks: each takes a value and says nil, or what is wrong.

local function text(pattern)
  return function(v) if type(v) ~= "string" or not v:find(pattern) then return "is not allowed" end end
end
local function one_of(...)
  local allowed = { ... }
  return function(v)
    for _, a in ipairs(allowed) do if v == a then return end end
    return "is not allowed"
  end
end
local function number(v) if type(v) ~= "number" or v ~= math.floor(v) then return "is no whole number" end end
local function boolean(v) if type(v) ~= "boolean" then return "is neither true nor false" end end
local function list(check)
  return function(v)
    if not json.is_array(v) then return "is no list" end
    for _, item in ipairs(v) do
      local why = check(item)
      if why then return why end
    end
  end
end
local function map(name_pattern, check)
  return function(v)
    if not json.is_object(v) then return "is no object" end
    for name, value in pairs(v) do
      local why = (type(name) ~= "string" or not name:find(name_pattern)) and "has a name that is not allowed" or check(value)
      if why then return why end
    end
  end
end
-- Names may be left out, unless they are in `needed`.
local function object(members, needed)
  return function(v)
    if not json.is_object(v) then return "is no object" end
    for name, value in pairs(v) do
      local check = members[name]
      if not check then return "has " .. name:gsub("[^%w_./-]", "?"):sub(1, 40) .. ", which is not allowed" end
      local why = check(value)
      if why then return name .. " " .. why end
    end
    for _, name in ipairs(needed or {}) do
      if v[name] == nil then return "lacks " .. name end
    end
  end
end
local function list_with(check, must)
  return function(v)
    local why = list(check)(v)
    if why then return why end
    for _, item in ipairs(v) do if item == must then return end end
    return "lacks " .. must
  end
end

local any_text = text("")
local HEX8 = ("%x"):rep(8)
local OURS = "^clara%-" .. HEX8 .. "%-[%w-]+$"
local IMAGE = "^[%w][%w._/:@-]*$"
local labels = object({
  ["clara-sandbox.installation"] = text("^[%w-]+$"), ["clara-sandbox.kind"] = text("^%l+$"),
  ["clara-sandbox.user"] = any_text, ["clara-sandbox.slot"] = any_text, ["clara-sandbox.host"] = any_text,
  ["clara-sandbox.channel"] = any_text,
}, { "clara-sandbox.installation", "clara-sandbox.kind" })

local function image(v) if type(v) ~= "string" or not v:find(IMAGE) or v:find("..", 1, true) then return "is no image" end end
local function network(v)
  if v == "none" or (type(v) == "string" and v:find(OURS) and v:find("-bridge$")) then return end
  if NETWORK ~= "" and v == NETWORK and not v:find("^container:") and v ~= "host" and v ~= "default" then return end
  return "is not allowed"
end
local function security(v)
  if v == "no-new-privileges:true" then return end
  local profile = type(v) == "string" and v:match("^seccomp=({.*})$")
  if not profile then return "is not allowed" end
  local read, why = json.parse(profile)
  if not read then return "has a profile of system calls that can't be read: " .. why end
  -- One that allows what it does not name is none.
  if read.defaultAction ~= "SCMP_ACT_ERRNO" and read.defaultAction ~= "SCMP_ACT_KILL_PROCESS" then
    return "has a profile of system calls that is not closed"
  end
end

local function volume_mount(v)
  return object({
    Type = one_of("volume"), Source = text(OURS), Target = one_of("/workspace", "/run/clara/bin"), ReadOnly = boolean,
    VolumeOptions = object({ NoCopy = boolean }),
  }, { "Type", "Source", "Target" })(v)
end
local function mount(v)
  if DATA_DIR ~= "" and json.is_object(v) and v.Type == "bind" then
    local why = object({ Type = one_of("bind"), Source = any_text, Target = one_of("/workspace"), ReadOnly = boolean },
      { "Source", "Target" })(v)
    local folder = DATA_DIR .. "/docker/"
    if why or v.Source:sub(1, #folder) == folder and v.Source:sub(#folder + 1):find("^[%w-]+$") then return why end
    return "Source is not allowed"
  end
  return volume_mount(v)
end

local sandbox_host_config = object({
  NetworkMode = network, Memory = number, MemorySwap = number, NanoCpus = number, PidsLimit = number,
  StorageOpt = object({ size = text("^%d+$") }), CapDrop = list_with(one_of("ALL"), "ALL"),
  CapAdd = list(one_of("SETUID", "SETGID", "KILL", "SETPCAP", "CHOWN", "NET_ADMIN")),
  SecurityOpt = list_with(security, "no-new-privileges:true"), IpcMode = one_of("private"),
  CgroupnsMode = one_of("private"), ReadonlyRootfs = boolean, Init = one_of(false),
  Runtime = function(v) if RUNTIME == "" or v ~= RUNTIME then return "is not allowed" end end,
  Mounts = list(mount), Tmpfs = map("^/[%w/]+$", text("^[%w,=]+$")), ShmSize = number,
  Ulimits = list(object({ Name = one_of("core", "nofile"), Soft = number, Hard = number })),
  LogConfig = object({ Type = one_of("json-file", "none") }), RestartPolicy = object({ Name = one_of("no") }),
}, { "NetworkMode", "CapDrop", "SecurityOpt", "IpcMode", "CgroupnsMode" })

local sandbox = object({
  Image = image, Hostname = one_of("sandbox"), User = one_of("0:0"), WorkingDir = one_of("/"),
  Entrypoint = list(any_text), Cmd = list(any_text), Tty = one_of(false), StopSignal = one_of("SIGKILL"),
  NetworkDisabled = boolean, Healthcheck = object({ Test = list(one_of("NONE")) }), Labels = labels,
  HostConfig = sandbox_host_config,
}, { "Labels", "HostConfig" })

-- The container that the agent's volume is filled through. Its command is not there, so it can't be started.
local agent_filler = object({
  Image = image, Cmd = list(one_of("/never-started")), NetworkDisabled = one_of(true), Labels = labels,
  HostConfig = object({ Binds = list(text("^clara%-" .. HEX8 .. "%-agent%-%x+:/agent:nocopy$")) }, { "Binds" }),
}, { "Cmd", "Labels", "HostConfig" })

local function container(v)
  local kind = json.is_object(v) and json.is_object(v.Labels) and v.Labels["clara-sandbox.kind"]
  return (kind == "agent" and agent_filler or sandbox)(v)
end

local volume = object({ Name = text(OURS), Driver = one_of("local"), Labels = labels,
  DriverOpts = object({ size = text("^%d+$") }) }, { "Name", "Labels" })
local bridge = object({ Name = text("^clara%-" .. HEX8 .. "%-bridge$"), CheckDuplicate = boolean, Driver = one_of("bridge"),
  Options = object({ ["com.docker.network.bridge.enable_icc"] = one_of("false") },
    { "com.docker.network.bridge.enable_icc" }), Labels = labels }, { "Name", "Driver", "Options", "Labels" })
local exec = object({ AttachStdin = boolean, AttachStdout = boolean, AttachStderr = boolean, Tty = one_of(false),
  User = one_of("0"), Cmd = list(any_text) }, { "Cmd" })
local exec_start = object({ Detach = one_of(false), Tty = one_of(false) })

-- Calls. A path's first captured word is what `ours` or `name` looks at; `query` has every parameter that may be there.

local function decode(s)
  if s:find("%%%x?$") or s:find("%%[^%x]") or s:find("%%%x[^%x]") then return nil end
  return (s:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end
-- Lists are of what is ours only.
local function our_filter(v)
  local filters = json.parse(v)
  if not filters or not json.is_object(filters) or not json.is_array(filters.label) then return "is not allowed" end
  local why = object({ label = list(text("^clara%-sandbox%.installation=[%w-]+$")) })(filters)
  return why or (#filters.label ~= 1 and "is not allowed" or nil)
end
local function named(pattern)
  return function(v) if not v:find(pattern) or v:find("..", 1, true) or v:find("//", 1, true) then return "is not allowed" end end
end

local calls = {
  { "GET", "/_ping" }, { "HEAD", "/_ping" }, { "GET", "/version" }, { "GET", "/info" },
  { "GET", "/events", query = { filters = any_text, since = text("^[%d.]+$") } },
  { "GET", "/images/(.+)/json", name = named(IMAGE) },
  { "GET", "/distribution/(.+)/json", name = named(IMAGE) },
  { "POST", "/images/create", query = { fromImage = image }, needs = { "fromImage" } },
  { "GET", "/containers/json", query = { all = one_of("1"), filters = our_filter }, needs = { "filters" } },
  { "POST", "/containers/create", query = { name = text(OURS) }, needs = { "name" }, body = container },
  { "POST", "/containers/([^/]+)/start", ours = true },
  { "POST", "/containers/([^/]+)/wait", ours = true, query = { condition = one_of("removed", "not-running") } },
  { "POST", "/containers/([^/]+)/rename", ours = true, query = { name = text(OURS) }, needs = { "name" } },
  { "POST", "/containers/([^/]+)/exec", ours = true, body = exec },
  { "GET", "/containers/([^/]+)/json", ours = true },
  { "GET", "/containers/([^/]+)/top", ours = true, query = { ps_args = one_of("-eo pid,uid,args") }, needs = { "ps_args" } },
  { "GET", "/containers/([^/]+)/logs", ours = true, query = { stderr = one_of("1"), tail = one_of("5") } },
  { "GET", "/containers/([^/]+)/stats", ours = true, query = { stream = one_of("0"), ["one-shot"] = one_of("1") } },
  -- Never into a container that runs: that one is not started (agent_filler).
  { "PUT", "/containers/([^/]+)/archive", ours = "agent", query = { path = one_of("/agent") }, needs = { "path" } },
  { "DELETE", "/containers/([^/]+)", ours = true, query = { force = one_of("1") } },
  { "POST", "/exec/(%x+)/start", body = exec_start },
  { "GET", "/volumes", query = { filters = our_filter }, needs = { "filters" } },
  { "POST", "/volumes/create", body = volume },
  { "GET", "/volumes/([^/]+)", name = named(OURS) }, { "DELETE", "/volumes/([^/]+)", name = named(OURS) },
  { "POST", "/networks/create", body = bridge },
  { "GET", "/networks/([^/]+)", name = named("^[%w][%w._-]*$") },
  { "DELETE", "/networks/([^/]+)", name = named("^clara%-" .. HEX8 .. "%-bridge$") },
}

-- Whether the engine has a container of that name or id, and with that label, if any is given; nil: it did not say.
local function is_there(id, label)
  local by_name = id:find(OURS) ~= nil
  local filters = ('{"%s":["%s"]%s}'):format(by_name and "name" or "id", by_name and "^/" .. id .. "$" or id,
    label and ',"label":["' .. label .. '"]' or "")
  local query = filters:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
  local engine = ngx.socket.tcp()
  engine:settimeout(30000)
  if not engine:connect(ENGINE) then return nil end
  engine:send("GET /v1.41/containers/json?all=1&filters=" .. query .. " HTTP/1.0\r\nHost: docker\r\n\r\n")
  local answer = engine:receive("*a") or ""
  engine:close()
  local body = answer:match("^HTTP/1%.[01] 200 .-\r\n\r\n(.*)$")
  if not body then return nil end
  return body:find('"Id":"', 1, true) ~= nil
end

-- Asked anew each time, as names come and go. The engine itself says 404 of what is not there.
local function check_ours(id, kind)
  if not (id:find("^" .. ("%x"):rep(64) .. "$") or id:find(OURS)) then return "that container is not ours" end
  local ours = is_there(id, kind and "clara-sandbox.kind=" .. kind or "clara-sandbox.installation")
  if ours then return end
  if ours == nil then return "the engine does not answer" end
  if is_there(id) ~= false then return "that container is not ours" end
end

local function check_query(call, given)
  local seen = {}
  for pair in (given or ""):gmatch("[^&]+") do
    local name, value = pair:match("^([%a_-]+)=(.*)$")
    value = value and decode(value)
    local check = name and (call.query or {})[name]
    if not value or not check or seen[name] then return "a parameter of " .. call[2] .. " is not allowed" end
    seen[name] = true
    local why = check(value)
    if why then return name .. " " .. why end
  end
  for _, name in ipairs(call.needs or {}) do if not seen[name] then return name .. " is missing" end end
end

local function check_body(call)
  if call[1] == "PUT" then return end -- the agent's archive: bytes for a volume of ours
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  if not call.body then return (body or ngx.req.get_body_file()) and "a body where there is none" or nil end
  if not body or #body > MOST then return "the body is too long, or missing" end
  local value, why = json.parse(body)
  if value == nil then return "the body: " .. why end
  why = call.body(value)
  return why and "the body " .. why or nil
end

local function judge(method, target, upgrade)
  local path, query = target:match("^([^?]*)%??(.*)$")
  local version, rest = path:match("^/v1%.(%d%d)(/.*)$")
  if version and tonumber(version) < 41 then return "the API before 1.41" end
  path = rest or path
  for _, call in ipairs(calls) do
    local word = call[1] == method and path:match("^" .. call[2] .. "$")
    if word then
      if upgrade and call.body ~= exec_start then return "an upgrade" end
      local why = check_query(call, query) or check_body(call)
      if why then return why end
      if call.name then
        local name = decode(word)
        return (not name or call.name(name)) and "that name is not allowed" or nil
      end
      return call.ours and check_ours(word, call.ours ~= true and call.ours) or nil
    end
  end
  return "that call is not allowed"
end

local function check()
  local ok, why = pcall(judge, ngx.req.get_method(), ngx.var.request_uri, ngx.var.http_upgrade)
  if ok and not why then return end
  if not ok then ngx.log(ngx.ERR, "guard: ", why) end
  why = ok and why:gsub("[^%w ,.:/_-]", "?") or "the guard failed"
  ngx.log(ngx.WARN, "refused: ", why)
  ngx.status = 403
  ngx.header.content_type = "application/json"
  ngx.say('{"message":"docker-proxy refuses this: ' .. why .. '"}')
  return ngx.exit(403)
end

return { check = check, judge = judge }
