-- Returns the state of each job, '' for a job that does not exist.
local job_ids = { unpack(ARGV, 1) }
local states = {}
for i, id in ipairs(job_ids) do states[i] = read_job(id, 'state')[1] or '' end
return states
