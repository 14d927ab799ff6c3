"""A recipe: every setting of a lineage, typed and complete."""

from pydantic import model_validator

from openqwen.core.config import Config, setting
from openqwen.data.config import DocumentsConfig
from openqwen.data.inputs.config import SourcesConfig
from openqwen.data.training.config import ShardsConfig
from openqwen.eval.config import EvaluationConfig, LongContextConfig
from openqwen.report.config import ReportConfig
from openqwen.tokenizer.config import TokenizerConfig
from openqwen.train.config import CodeConfig, PretrainConfig
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.reward_config import PreferenceConfig, RewardConfig
from openqwen.train.sft_config import CodeChatConfig, MathChatConfig, SFTConfig


class Recipe(Config):
    """All stages' settings; a stage's section is its name with `_` for `-`."""

    name: str = setting("", "what the run is called", pattern=r"^[\w.-]*$")
    seed: int = setting(0, "seed of every random choice", ge=0)
    sources: SourcesConfig = setting(SourcesConfig(), "raw pages, code, instructions")
    documents: DocumentsConfig = setting(DocumentsConfig(), "cleaning and mixture (§2.1)")
    tokenizer: TokenizerConfig = setting(TokenizerConfig(), "byte-level BPE (§2.2)")
    shards: ShardsConfig = setting(ShardsConfig(), "training sequences (§2.4)")
    base: PretrainConfig = setting(PretrainConfig(), "pretraining (§2.4)")
    longcontext: LongContextConfig = setting(LongContextConfig(), "perplexity by length (Table 3)")
    chat: SFTConfig = setting(SFTConfig(), "supervised fine-tuning (§3.1)")
    preference: PreferenceConfig = setting(
        PreferenceConfig(), "preference-model pretraining (§3.2.1)"
    )
    reward: RewardConfig = setting(RewardConfig(), "the reward model (§3.2.1)")
    chat_rlhf: PPOConfig = setting(PPOConfig(), "PPO (§3.2.2)")
    code: CodeConfig = setting(CodeConfig(), "continued pretraining on code (§4)")
    code_chat: CodeChatConfig = setting(CodeChatConfig(), "fine-tuning on code (§4)")
    math_chat: MathChatConfig = setting(MathChatConfig(), "fine-tuning on mathematics (§5)")
    evaluation: EvaluationConfig = setting(
        EvaluationConfig(), "every model on a few hundred items (§2.5, §3.3)"
    )
    report: ReportConfig = setting(ReportConfig(), "the page at the end")

    @model_validator(mode="after")
    def _lengths_are_whole_tokens(self) -> "Recipe":
        context = self.shards.context_length
        for multiple in self.longcontext.length_multiples:
            if multiple * context != int(multiple * context) or multiple * context < 2:
                raise ValueError(
                    f"longcontext.length_multiples holds {multiple}, which times "
                    f"shards.context_length = {context} is no whole number of at least 2 tokens"
                )
        return self
